"""SaliencyCrop in mmpretrain's own pipeline, as the config of configs/sgcl builds it."""
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DATASETS, DefaultScope
from scipy import stats

from mmsscl.datasets import SceneImages
from mmsscl.datasets.transforms import RandomAreaCrop, SaliencyRandomResizedCrop
from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS
from mmsscl.saliency.store import SaliencyStore
from mmsscl.structures.saliency_map import SaliencyMap

CONFIG = Path(__file__).resolve().parents[3] / "configs/sgcl/mmpretrain_moco_saliency_crop.py"


@pytest.fixture
def scope():
    yield DefaultScope.get_instance("saliency_crop_of_mmpretrain", scope_name="mmpretrain")
    DefaultScope._instance_dict.clear()


@pytest.fixture
def photos(tmp_path):
    """Six photos, red on the right and blue on the left, greener downwards, and a store that finds the red half salient."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        pixels = np.zeros((120, 160 + number, 3), np.uint8)
        pixels[:, :80, 0], pixels[:, 80:, 2] = 255, 255
        pixels[..., 1] = np.arange(120)[:, None]
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
    values = np.zeros((6, 14, 14), np.uint8)
    values[:, :, 7:] = 255
    SaliencyStore.create(tmp_path / "store", "test", 6, 14)
    store = SaliencyStore.open(tmp_path / "store", writable=True)
    store.write(np.arange(6), values, np.array([255, 255, 255, 255, 255, 0], np.uint8))
    store.commit(1)
    return folder, str(tmp_path / "store")


def test_runs_in_the_moco_pipeline_of_the_config(photos, scope):
    folder, store = photos
    config = Config.fromfile(CONFIG)
    source = config.train_dataloader.dataset
    views = source.pipeline[1].transforms[0]
    assert views[0].type == "mmsscl.SaliencyRandomResizedCrop"
    views[0].update(store=store, scale=32, crop_ratio_range=(0.2, 0.2), lambda_max=1.0)
    source.data_root = str(folder)
    source.pipeline[1].transforms = [[views[0], views[-1]]]  # without the colours, which would hide where it was cut
    dataset = DATASETS.build(source)
    ours = SceneImages(str(folder))
    np.random.seed(0)
    red, plain_red, differ = [], [], 0
    for index in range(6):
        assert dataset.get_data_info(index)["img_path"] == ours.path(index)
        for _ in range(15):
            one, other = dataset[index]["inputs"]
            assert one.shape == other.shape == (3, 32, 32)
            differ += not bool((one == other).all())
            share = (one[2].float().mean() / (one[0].float().mean() + one[2].float().mean())).item()
            (plain_red if index == 5 else red).append(share)
    assert differ > 80
    assert np.mean(red) > 0.85
    assert np.mean(plain_red) < 0.7  # the last image's map is not trusted


def plain(value: object) -> object:
    """Settings without what mmengine notes of where they come from; tuples as lists."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key != "_scope_"}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def test_the_config_changes_one_transform_of_mmpretrains():
    theirs = get_config("mmpretrain::mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py")
    ours = Config.fromfile(CONFIG)
    assert plain(ours.model) == plain(theirs.model)
    assert plain(ours.optim_wrapper) == plain(theirs.optim_wrapper)
    mine, other = (config.train_pipeline[1].transforms[0] for config in (ours, theirs))
    assert [step.type for step in mine[1:]] == [step.type for step in other[1:]]
    for step, reference in zip(mine[1:], other[1:]):
        assert plain(step) == plain(reference)
    kept = {key: plain(mine[0][key]) for key in other[0]} | {"type": "RandomResizedCrop"}
    assert kept == plain(other[0])


def test_law_is_the_plain_one_without_a_map_and_views_differ_though_copied():
    transform = SaliencyRandomResizedCrop(scale=8, crop_ratio_range=(0.2, 1.0))
    image = np.zeros((60, 80, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(80), np.arange(60)[:, None]
    np.random.seed(0)
    corners = np.array([transform({"img": image, "saliency": None})["img"][0, 0, :2] for _ in range(600)])
    generator = np.random.default_rng(0)
    expected = np.array([RandomAreaCrop().sample(image.shape[:2], generator) for _ in range(600)])
    for axis in (0, 1):
        # the first pixel of the result lies half a result's pixel inside the crop
        edge = expected[:, axis] + (expected[:, axis + 2] / 8 - 1) / 2
        assert stats.ks_2samp(corners[:, axis], edge).pvalue > 1e-3
    saliency = SaliencyMap(np.eye(14, dtype=np.float32), 1.0, 1.0, np.random.default_rng(0))
    np.random.seed(0)
    first = transform({"img": image, "saliency": saliency})["img"]
    second = transform({"img": image, "saliency": saliency})["img"]
    assert (first != second).any()
    np.random.seed(0)
    np.testing.assert_array_equal(first, transform({"img": image, "saliency": saliency})["img"])


def test_built_by_name_and_shapes():
    transform = TRANSFORMS.build({"type": "SaliencyRandomResizedCrop", "scale": 16, "backend": "pillow"})
    for size in ((1, 1), (1, 500), (900, 20)):
        results = transform({"img": np.zeros((*size, 3), np.uint8), "saliency": None})
        assert results["img"].shape == results["img_shape"] == (16, 16, 3)


def test_bad_use_is_named(photos, tmp_path):
    with pytest.raises(InputError, match="needs a saliency map"):
        SaliencyRandomResizedCrop()({"img": np.zeros((4, 4, 3), np.uint8)})
    with pytest.raises(InputError, match="no such saliency store"):
        SaliencyRandomResizedCrop(store=str(tmp_path / "absent"))
    SaliencyStore.create(tmp_path / "empty", "test", 6, 14)
    with pytest.raises(InputError, match="holds no saliency maps yet"):
        SaliencyRandomResizedCrop(store=str(tmp_path / "empty"))
    with pytest.raises(InputError, match="another data set"):
        SaliencyRandomResizedCrop(store=photos[1])({"img": np.zeros((4, 4, 3), np.uint8), "sample_idx": 6})
    with pytest.raises(InputError, match="scale"):
        SaliencyRandomResizedCrop(scale=0)
    with pytest.raises(InputError, match="backend"):
        SaliencyRandomResizedCrop(backend="PIL")
    with pytest.raises(InputError, match="lambda_max"):
        SaliencyRandomResizedCrop(lambda_max=2)
