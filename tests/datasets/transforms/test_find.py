"""Finding transforms in pipelines as data sets of mmsscl, mmengine and mmpretrain hold them."""
from types import SimpleNamespace

import pytest
from mmcv.transforms import BaseTransform, Compose, RandomApply
from mmengine.dataset import BaseDataset, ConcatDataset
from mmpretrain.datasets.transforms import MultiView

from mmsscl.datasets import SceneImages
from mmsscl.datasets.transforms import LoadSaliency, LoadSceneImage, RandomAreaCrop
from mmsscl.datasets.transforms.find import check_pipeline, find_transforms
from mmsscl.errors import InputError


class Sought(BaseTransform):
    """What is looked for; others of its kind within it are its own affair."""

    def __init__(self, *transforms):
        self.transforms = list(transforms)

    def transform(self, results):
        return results


class Derived(Sought):
    """Of the same kind."""


def found(holder):
    return list(find_transforms(holder, Sought))


def test_found_in_order_and_by_class_at_any_depth():
    plain, derived, deep, within = Sought(), Derived(), Sought(), Sought()
    outer = Sought(within)
    deeper = RandomApply([Compose([LoadSceneImage(), deep])], prob=0.5)
    holder = SimpleNamespace(pipeline=[LoadSceneImage(), plain, Compose([derived, deeper]), outer])
    assert found(holder) == [plain, derived, deep, outer]
    assert [type(step) for step in find_transforms(holder, LoadSceneImage)] == [LoadSceneImage] * 2
    assert found(derived) == []
    assert found(outer) == [within]


def test_found_in_each_view_of_mmpretrains_multi_view():
    first, second = Sought(), Sought()
    views = MultiView([[first, LoadSceneImage()], [second]], num_views=[1, 1])
    assert found(SimpleNamespace(pipeline=Compose([LoadSceneImage(), views]))) == [first, second]


@pytest.mark.parametrize("holder", [None, 3, "text", [], SimpleNamespace(pipeline=None), SimpleNamespace(pipeline=[])])
def test_nothing_is_found_where_there_is_nothing(holder):
    assert found(holder) == []
    assert found(SimpleNamespace(pipeline=[RandomAreaCrop(), print, None])) == []


def test_data_sets_that_show_pipeline_and_paths_pass_the_check(tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"")
    scenes = SceneImages(data_root=str(tmp_path), pipeline=[{"type": "LoadSaliency"}])
    check_pipeline(scenes, "Me")
    assert len(list(find_transforms(scenes, LoadSaliency))) == 1
    plain = BaseDataset(pipeline=[Sought()], lazy_init=True)
    check_pipeline(plain, "Me")
    assert len(found(plain)) == 1


def test_wrappers_and_unknown_data_sets_are_named(tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"")
    joined = ConcatDataset([{"type": "mmsscl.SceneImages", "data_root": str(tmp_path)}])
    with pytest.raises(InputError, match=r"Me: .* is a ConcatDataset, which hides the pipeline.*without a wrapper"):
        check_pipeline(joined, "Me")
    with pytest.raises(InputError, match="is a SimpleNamespace"):
        check_pipeline(SimpleNamespace(pipeline=[]), "Me")
