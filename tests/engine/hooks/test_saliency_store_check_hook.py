"""A finished store is read by the data set that it was made from, or training does not start."""
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import RepeatDataset
from mmengine.registry import DATASETS, DefaultScope

from mmsscl.datasets import SceneImages
from mmsscl.engine.hooks import SaliencyStoreCheckHook
from mmsscl.errors import InputError
from mmsscl.registry import HOOKS
from mmsscl.saliency.store import SaliencyStore, dataset_fingerprint

CONFIG = Path(__file__).resolve().parents[3] / "configs/sgcl/mmpretrain_moco_saliency_crop.py"


def write_photos(folder, seed=0):
    """Photos of every kind that SceneImages lists, in two levels, so that sorting matters."""
    generator = np.random.default_rng(seed)
    for name in ("b.jpg", "a.webp", "sub/c.png", "sub/a.jpeg", "z.JPG"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = cv2.resize(generator.integers(0, 255, (5, 6, 3), dtype=np.uint8), (60, 50))
        _, data = cv2.imencode(Path(name).suffix, pixels)
        (folder / name).write_bytes(data.tobytes())
    return folder


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


@pytest.fixture
def store(tmp_path, photos):
    """The store of a finished run on the photos."""
    dataset, path = SceneImages(data_root=str(photos)), tmp_path / "store.bin"
    SaliencyStore.create(path, dataset_fingerprint(dataset), len(dataset), 4)
    filled = SaliencyStore.open(path, writable=True)
    filled.write(range(5), np.random.default_rng(0).random((5, 4, 4)), np.full(5, 255, np.uint8))
    filled.commit(1)
    return str(path)


def scenes(photos, store, **options):
    return SceneImages(data_root=str(photos), pipeline=[{"type": "LoadSaliency", "store": store}], **options)


def check(dataset):
    hook = HOOKS.build({"type": "mmsscl.SaliencyStoreCheckHook"})
    hook.before_train(SimpleNamespace(train_dataloader=SimpleNamespace(dataset=dataset)))


def test_the_right_data_set_passes_also_where_it_was_moved(tmp_path, photos, store):
    dataset = scenes(photos, store)
    check(dataset)
    check(scenes(write_photos(tmp_path / "moved" / "there"), store))
    values = dataset[2]["saliency"].values
    np.testing.assert_array_equal(values, SaliencyStore.open(store).read(2)[0])


def test_another_data_set_is_refused(tmp_path, photos, store):
    others = {
        "reordered": scenes(photos, store, indices=[1, 0, 2, 3, 4]),
        "fewer": scenes(photos, store, indices=4),
        "same names": scenes(write_photos(tmp_path / "others", seed=1), store),
    }
    for dataset in others.values():
        with pytest.raises(InputError, match="another data set") as error:
            check(dataset)
        assert store in str(error.value)
    (photos / "b.jpg").rename(photos / "bb.jpg")
    with pytest.raises(InputError, match="another data set"):
        check(scenes(photos, store))


def test_a_store_without_maps_is_refused(photos, store):
    dataset = scenes(photos, store)
    SaliencyStore.create(store, dataset_fingerprint(dataset), 5, 4)
    with pytest.raises(InputError, match="holds no saliency maps yet"):
        check(dataset)


def test_nothing_that_reads_a_store_is_refused(photos):
    for pipeline in ([], [{"type": "LoadSaliency"}]):
        with pytest.raises(InputError, match=r"nothing in train_dataloader.*store=.*or remove the hook"):
            check(SceneImages(data_root=str(photos), pipeline=pipeline))


def test_a_wrapper_is_named(photos, store):
    pipeline = [{"type": "LoadSaliency", "store": store}]
    source = {"type": "mmsscl.SceneImages", "data_root": str(photos), "pipeline": pipeline}
    with pytest.raises(InputError, match=r"SaliencyStoreCheckHook: .* is a RepeatDataset"):
        check(RepeatDataset(source, times=2))


@pytest.fixture
def mmpretrain_config():
    """Within mmpretrain's scope, as its runner is."""
    yield DefaultScope.get_instance("store_check_of_mmpretrain", scope_name="mmpretrain")
    DefaultScope._instance_dict.clear()


def test_mmpretrains_data_set_of_the_config_is_checked_through_its_multi_view(
    tmp_path, photos, store, mmpretrain_config
):
    config = Config.fromfile(CONFIG)
    assert [hook.type for hook in config.custom_hooks] == ["mmsscl.SaliencyStoreCheckHook"]
    assert type(HOOKS.build(config.custom_hooks[0])) is SaliencyStoreCheckHook
    source = config.train_dataloader.dataset

    def build(folder, **options):
        source.pipeline[1].transforms[0][0].update(store=store, scale=16)
        return DATASETS.build(source | dict(data_root=str(folder), **options))

    dataset = build(photos)
    listed = [Path(dataset.get_data_info(index)["img_path"]).relative_to(photos) for index in range(len(dataset))]
    ours = SceneImages(data_root=str(photos))
    assert listed == [Path(ours.path(index)).relative_to(photos) for index in range(len(ours))]
    assert Path("a.webp") in listed
    check(dataset)
    assert len(dataset[0]["inputs"]) == 2
    # mmpretrain's own extensions leave out .webp: every later photo would get another's map
    with pytest.raises(InputError, match=r"another data set \(5 images.*this one: 4 images"):
        check(build(photos, extensions=(".jpg", ".jpeg", ".png")))
    with pytest.raises(InputError, match="another data set"):
        check(build(write_photos(tmp_path / "others", seed=1)))
