import io
import json
import logging
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset
from mmengine.fileio import get
from mmengine.logging import MMLogger
from torch.utils.data import DataLoader

from mmsscl.datasets import EpochIndexSampler, SceneImages
from mmsscl.datasets.shards import PhotoShards
from mmsscl.datasets.shards.write_shards import write_shards
from mmsscl.errors import InputError
from mmsscl.saliency.fingerprint import dataset_fingerprint
from tests.sample_runs import write_photos

SUFFIXES = (".jpg", ".jpeg", ".png")
PIPELINE = [
    {"type": "LoadSceneImage"},
    {
        "type": "SpatialConsistentPair",
        "size": 64,
        "views": [{"type": "RandomAreaCrop", "area": (0.3, 1.0), "flip": 0.5}] * 2,
        "boxes": {"type": "GridBoxes", "num_boxes": 4, "min_size": 8, "max_iou": 0.5},
    },
    {"type": "DrawPhotometric", "views": [{"brightness": 0.4, "jitter_prob": 0.8, "blur": "resize", "blur_prob": 0.5}] * 2},
    {"type": "PackPair"},
]


@pytest.fixture
def photos(tmp_path):
    folder = write_photos(tmp_path / "photos", 20)
    (folder / "more").mkdir()
    for number in range(0, 20, 3):
        (folder / f"{number}.jpg").rename(folder / f"more/{number}.JPEG")
    (folder / "7.jpg").write_bytes((folder / "7.jpg").read_bytes()[:300])
    return folder


@pytest.fixture
def shards(photos, tmp_path):
    dataset = SceneImages(str(photos))
    paths = [dataset.path(index) for index in range(len(dataset))]
    assert len(list(write_shards(paths, str(photos), tmp_path / "shards", most_bytes=8_000))) > 3
    return tmp_path / "shards"


def batches(dataset, epochs=2):
    dataset.substitutes_bad = True
    sampler = EpochIndexSampler(dataset, seed=0, batch_size=4)
    loader = DataLoader(dataset, 4, sampler=sampler, num_workers=2, persistent_workers=True, multiprocessing_context="fork")
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        yield from loader


def flat(node, place=""):
    if isinstance(node, dict):
        return {key: value for name, part in node.items() for key, value in flat(part, f"{place}.{name}").items()}
    if isinstance(node, list | tuple):
        return {key: value for number, part in enumerate(node) for key, value in flat(part, f"{place}.{number}").items()}
    return {place: node}


def test_the_same_batches_from_the_same_seed(photos, shards):
    """By several workers over two epochs, and with a photo that cannot be read and is replaced."""
    by_files = SceneImages(str(photos), pipeline=PIPELINE, seed=3)
    by_shards = SceneImages(str(shards), shards="*.tar", pipeline=PIPELINE, seed=3)
    bad = 0
    count = 0
    for one, other in zip(batches(by_files), batches(by_shards), strict=True):
        one, other = flat(one), flat(other)
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert torch.equal(value, other[name]), name
        bad += int((one[".pairs.bad_index"] >= 0).sum())
        count += 1
    assert count == 10
    assert bad == 2, "the bad photo was met once an epoch"


def test_however_the_folder_is_written_it_is_the_same_data_set(photos, shards, monkeypatch):
    monkeypatch.chdir(photos.parent)
    wanted = dataset_fingerprint(SceneImages(str(shards), shards="*.tar"))
    for root in ("photos", "./photos", "photos/", "photos//", ".//photos/."):
        assert dataset_fingerprint(SceneImages(root)) == wanted, root


def test_a_run_on_shards_goes_on_with_the_maps_of_one_on_files(photos, shards):
    files = SceneImages(str(photos))
    packed = SceneImages(str(shards), shards="*.tar")
    assert dataset_fingerprint(packed) == dataset_fingerprint(files)
    assert dataset_fingerprint(SceneImages(str(shards), shards="*0.tar")) != dataset_fingerprint(files)


def test_shards_of_webdataset(tmp_path):
    """Written by webdataset itself, with labels and texts beside the photos; read by both."""
    contents = {f"part/{number:04d}": os.urandom(50 + number) for number in range(30)}
    (tmp_path / "shards").mkdir()
    with webdataset.ShardWriter(str(tmp_path / "shards/train-%04d.tar"), maxcount=7, verbose=0) as writer:
        for number, (key, content) in enumerate(contents.items()):
            kind = "jpg" if number % 2 else "png"
            beside = {"json": json.dumps(number).encode(), "cls": b"1", "txt": b"a photo"}
            writer.write({"__key__": key, kind: content, **beside})
    photos = PhotoShards(str(tmp_path / "shards"), ["train-*.tar"], SUFFIXES)
    assert len(photos.shards) == 5
    assert [get(photos[index]) for index in range(30)] == list(contents.values())
    assert len(PhotoShards(str(tmp_path / "shards"), ["train-*.tar"], (".jpg",))) == 15


def test_webdataset_reads_ours(photos, shards):
    urls = [str(shard) for shard in sorted(shards.glob("*.tar"))]
    found = [sample.get("jpg") or sample["jpeg"] for sample in webdataset.WebDataset(urls, shardshuffle=False)]
    files = SceneImages(str(photos))
    assert found == [Path(files.path(index)).read_bytes() for index in range(len(files))]


def test_they_join_other_sources(photos, shards):
    one = {"data_root": str(photos), "data_prefix": "more"}
    other = {"data_root": str(shards.parent), "data_prefix": "shards", "shards": ["photos-000001.tar", "*2.tar"]}
    joined = SceneImages(sources=[one, other])
    assert [joined.path(index) for index in range(7)] == [SceneImages(**one).path(index) for index in range(7)]
    assert joined.path(7) == SceneImages(**other).path(0)
    assert len(joined) == 7 + len(SceneImages(**other))
    picked = SceneImages(sources=[one, other], indices=[8, 2])
    assert [picked.path(0), picked.path(1)] == [joined.path(8), joined.path(2)]


def test_a_slow_start_is_explained_once(shards, caplog):
    logger = MMLogger.get_instance("slow_start", log_level="INFO")
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO)
    (shards / "photos-000001.tar.index").unlink()
    SceneImages(str(shards), shards="*.tar")
    assert sum("1 of" in r.getMessage() and "mmsscl shards index" in r.getMessage() for r in caplog.records) == 1
    caplog.clear()
    SceneImages(str(shards), shards="photos-000000.tar")
    assert not caplog.records


@pytest.mark.parametrize("suffixes", [(".jpg",), (".JPG",), (".png",), (".jpg", ".png"), ("g",), (".verylongsuffix",)])
def test_names_are_told_apart_as_python_does(tmp_path, suffixes):
    names = ["a.jpg", "g", "jpg", "x.JPG", "b.Png", ".jpg.json", "c.jpg.txt", "d.jpeg", "é.jpg", "verylongsuffix"]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    suffixes = tuple(suffix.lower() for suffix in suffixes)
    with tarfile.open(tmp_path / "short.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("a"), io.BytesIO())
    with pytest.raises(InputError, match="no images in these 1 tar"):
        PhotoShards(str(tmp_path), ["short.tar"], suffixes)
    wanted = [name for name in names if name.lower().endswith(suffixes) and not name.startswith(".")]
    if not wanted:
        with pytest.raises(InputError, match=r"a\.tar: no images in these 1 tar file\(s\)"):
            PhotoShards(str(tmp_path), ["a.tar"], suffixes)
    else:
        found = PhotoShards(str(tmp_path), ["a.tar"], suffixes)
        assert [found[index].rpartition("/")[2] for index in range(len(found))] == wanted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shards": "none-*.tar"}, r"none-\*\.tar: no such tar file\. Check shards"),
        ({"shards": "photos-{000..002}.tar"}, r"no such tar file.*in braces as a pattern: photos-\*\.tar"),
        ({"shards": ["*.tar", "./photos-000000.tar"]}, r"shards names .*photos-000000\.tar twice"),
        ({"shards": "*.tar", "ann_file": "a.txt"}, "ann_file or shards for a source, not both"),
        ({"shards": "*.tar", "extensions": [".gif"]}, r"no images in these \d+ tar file"),
        ({"shards": "*.tar", "indices": [999]}, r"indices \[999\] are outside"),
        ({}, r"no images in this folder .*It holds \d+ \.tar file\(s\): if the photos are in these, set shards='\*\.tar'"),
    ],
)
def test_mistakes_are_named(shards, arguments, message):
    with pytest.raises(InputError, match=message):
        SceneImages(str(shards), **arguments)
    if arguments:
        with pytest.raises(InputError, match="or sources, not both"):
            SceneImages(sources=[{"data_root": str(shards)}], **{"shards": "*.tar"} | arguments)


def test_ten_thousand_photos_take_few_bytes_each(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number in range(10_000):
            tar.addfile(tarfile.TarInfo(f"train2017/{number:012d}.jpg"), io.BytesIO())
    photos = PhotoShards(str(tmp_path), ["a.tar"], SUFFIXES)
    held = [photos._names.buffer, photos._names.ends, photos._offsets, photos._sizes]
    assert sum(array.nbytes for array in held) == 10_000 * (len("train2017/000000000000.jpg") + 1 + 3 * 8)
    assert all(isinstance(array, np.ndarray) for array in held)
