import pickle

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mmsscl.datasets import SceneImages
from mmsscl.datasets.decoded_photos import DecodedPhotos
from mmsscl.datasets.transforms.loading import read_photo
from mmsscl.errors import InputError
from mmsscl.saliency.refresh import WholeImages

PIPELINE = [
    dict(type="LoadSceneImage"),
    dict(type="SpatialConsistentPair", size=32, views=[dict(type="RandomAreaCrop")] * 2,
         boxes=dict(type="GridBoxes", num_boxes=2, min_size=4)),
    dict(type="LocalCrops", size=16, number=2),
    dict(type="DrawPhotometric"),
    dict(type="PackPair"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Seven photos, one of them rotated by EXIF's tag, one a PNG."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(7):
        pixels = cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (60 + number, 50))
        exif = Image.Exif()
        exif[0x0112] = 6 if number == 3 else 1
        Image.fromarray(pixels).save(tmp_path / f"{number}.{'png' if number == 5 else 'jpg'}", exif=exif)
    return str(tmp_path)


@pytest.fixture
def decoded(monkeypatch):
    """Counts decoded files of this process."""
    calls, decode = [], cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *args: calls.append(1) or decode(*args))
    return calls


def assert_same(one, other):
    assert one["pairs"].keys() == other["pairs"].keys()
    assert all(torch.equal(one["pairs"][key], other["pairs"][key]) for key in one["pairs"])
    assert all(torch.equal(view, other["inputs"][number]) for number, view in enumerate(one["inputs"]))


def test_samples_are_the_same_and_each_photo_is_decoded_once(folder, decoded):
    plain, keeping = (SceneImages(folder, pipeline=PIPELINE, keep_decoded=gb) for gb in (0, 0.001))
    wanted = [[plain[epoch, index] for index in range(7)] for epoch in range(3)]
    assert len(decoded) == 21
    decoded.clear()
    for epoch in range(3):
        for index in range(7):
            assert_same(keeping[epoch, index], wanted[epoch][index])
    assert len(decoded) == 7
    assert keeping.decoded_photos.kept == 7
    assert keeping.decoded_photos.bytes == sum(read_photo(plain.path(i)).decode().size for i in range(7))


def test_workers_share_what_one_of_them_decoded(folder):
    dataset = SceneImages(folder, pipeline=PIPELINE, keep_decoded=0.001)
    loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="fork")
    first = list(loader)
    assert dataset.decoded_photos.kept == 7
    for path in range(7):
        assert np.array_equal(dataset.decoded_photos.get(path), read_photo(dataset.path(path)).decode())
    files = [dataset.path(index) for index in range(7)]
    for file in files:
        with open(file, "w"):
            pass  # were a file read now, it would fail
    for one, other in zip(first, loader, strict=True):
        assert_same(one, other)


def test_what_finds_no_room_is_decoded_each_time(folder, decoded):
    sizes = [read_photo(f"{folder}/{number}.jpg").decode().size for number in range(2)]
    dataset = SceneImages(folder, pipeline=PIPELINE, keep_decoded=(sum(sizes) + 10) / 1e9)
    decoded.clear()
    for epoch in range(2):
        for index in range(7):
            dataset[epoch, index]
    assert dataset.decoded_photos.kept == 2
    assert len(decoded) == 7 + 5


def test_large_jpegs_are_decoded_at_the_size_that_is_needed(tmp_path, decoded):
    cv2.imwrite(str(tmp_path / "large.jpg"), np.random.default_rng(0).integers(0, 255, (1200, 1700, 3), np.uint8))
    dataset = SceneImages(str(tmp_path), pipeline=PIPELINE, keep_decoded=0.01)
    for epoch in range(2):
        dataset[epoch, 0]
    read_photo(dataset.path(0), None, lambda pixels: pytest.fail("kept")).decode(1)
    assert (dataset.decoded_photos.kept, len(decoded)) == (0, 3)


def test_pixels_that_are_handed_out_can_be_written_to(folder):
    dataset = SceneImages(folder, pipeline=PIPELINE[:1], keep_decoded=0.001)
    first = dataset[0]["image"].decode()
    kept = dataset[0]["image"]
    assert (kept.height, kept.width, kept.best_reduction(9.0)) == (*first.shape[:2], 1)
    kept.decode()[:] = 0
    assert np.array_equal(dataset[0]["image"].decode(), first)
    with pytest.raises(ValueError, match=r"0\.jpg: kept pixels have no reduction 2"):
        kept.decode(2)
    with pytest.raises(ValueError, match="read-only"):
        dataset.decoded_photos.get(0)[:] = 0


def test_the_refresh_uses_what_is_kept(folder, decoded):
    keeping, plain = (SceneImages(folder, pipeline=PIPELINE, keep_decoded=gb) for gb in (0.001, 0))
    wanted = [WholeImages(plain, 24)[index][1] for index in range(7)]
    for index in range(7):
        keeping[0, index]
    decoded.clear()
    assert all(torch.equal(WholeImages(keeping, 24)[index][1], wanted[index]) for index in range(7))
    assert not decoded


def test_a_copy_in_another_process_starts_empty():
    photos = DecodedPhotos(3, 0.001)
    photos.put(1, np.ones((2, 2, 3), np.uint8))
    other = pickle.loads(pickle.dumps(photos))
    assert (other.count, other.gigabytes, other.kept, photos.kept) == (3, 0.001, 0, 1)
    photos.put(1, np.zeros((2, 2, 3), np.uint8))
    assert photos.get(1).min() == 1
    assert photos.bytes == 12


@pytest.mark.parametrize("gigabytes", [-1, "4", True, 1e6, float("nan")])
def test_room_that_cannot_be_is_refused(folder, gigabytes):
    with pytest.raises(InputError, match=r"keep_decoded=.*give the memory for decoded photos in GB"):
        SceneImages(folder, pipeline=PIPELINE, keep_decoded=gigabytes)
