import json
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from mmsscl.datasets import SceneImages
from mmsscl.errors import InputError
from mmsscl.registry import DATASETS


@pytest.fixture
def photos(tmp_path):
    for name in ("b.jpg", "a.JPEG", "sub/deep/c.png", "sub/é ü.webp", ".hidden.jpg", "._b.jpg", ".trash/d.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path.with_suffix(".png"))
        os.rename(path.with_suffix(".png"), path)
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "folder.jpg").mkdir()
    return tmp_path


def names(dataset: SceneImages, root) -> list[str]:
    return [os.path.relpath(dataset.path(index), root) for index in range(len(dataset))]


def test_folder(photos):
    dataset = SceneImages(str(photos))
    assert names(dataset, photos) == ["a.JPEG", "b.jpg", "sub/deep/c.png", "sub/é ü.webp"]
    assert names(SceneImages(str(photos), recursive=False), photos) == ["a.JPEG", "b.jpg"]
    assert names(SceneImages(str(photos), extensions=[".png"]), photos) == ["sub/deep/c.png"]
    assert names(SceneImages(str(photos), data_prefix={"img": "sub/deep"}), photos) == ["sub/deep/c.png"]


def test_folder_links_are_followed_but_not_in_circles(photos):
    outside = photos.parent / "elsewhere"
    outside.mkdir()
    Image.new("RGB", (4, 4)).save(outside / "z.jpg")
    (photos / "sub" / "link").symlink_to(outside)
    (photos / "sub" / "loop").symlink_to(photos)
    assert names(SceneImages(str(photos)), photos) == [
        "a.JPEG",
        "b.jpg",
        "sub/deep/c.png",
        "sub/link/z.jpg",
        "sub/é ü.webp",
    ]


def test_list_file(photos):
    (photos / "list.txt").write_text("# first\nb.jpg\n\n  sub/deep/c.png\r\nsub/é ü.webp\nb.jpg\n", encoding="utf-8")
    dataset = SceneImages(str(photos), ann_file="list.txt")
    assert names(dataset, photos) == ["b.jpg", "sub/deep/c.png", "sub/é ü.webp", "b.jpg"]
    (photos / "deep.txt").write_text("c.png\n" + str(photos / "b.jpg"))
    assert names(SceneImages(str(photos), "sub/deep", str(photos / "deep.txt")), photos) == ["sub/deep/c.png", "b.jpg"]


def test_coco_file(photos):
    content = {
        "images": [{"id": 9, "file_name": "b.jpg"}, {"file_name": "a.JPEG"}],
        "annotations": [{"bbox": "ignored"}],
    }
    (photos / "instances.json").write_text(json.dumps(content))
    assert names(SceneImages(str(photos), ann_file="instances.json"), photos) == ["b.jpg", "a.JPEG"]


def test_several_sources_and_indices(photos):
    (photos / "list.txt").write_text("b.jpg")
    sources = [{"data_root": str(photos), "ann_file": "list.txt"}, {"data_root": str(photos), "data_prefix": "sub"}]
    dataset = SceneImages(sources=sources)
    assert names(dataset, photos) == ["b.jpg", "sub/deep/c.png", "sub/é ü.webp"]
    assert names(SceneImages(sources=sources, indices=2), photos) == ["b.jpg", "sub/deep/c.png"]
    assert names(SceneImages(sources=sources, indices=np.int64(2)), photos) == ["b.jpg", "sub/deep/c.png"]
    assert names(SceneImages(sources=sources, indices=[2, 0]), photos) == ["sub/é ü.webp", "b.jpg"]


@pytest.mark.parametrize(
    ("arguments", "files", "message"),
    [
        ({}, {}, "data_root is empty"),
        ({"data_root": "{}/nowhere"}, {}, r"nowhere: no such folder.*data_root"),
        ({"data_root": "{}"}, {"a.bmp": "x"}, r"no images in this folder \(looked for \.jpg, \.jpeg, \.png, \.webp"),
        ({"data_root": "{}", "ann_file": "no.txt"}, {}, r"no\.txt: no such file.*ann_file"),
        (
            {"data_root": "{}", "ann_file": "l.txt"},
            {"l.txt": "\n# only a comment\n"},
            r"l\.txt: the list names no image",
        ),
        (
            {"data_root": "{}", "ann_file": "l.txt"},
            {"l.txt": "gone.jpg"},
            r"l\.txt: 1 of 1 .* absent, first .*gone\.jpg",
        ),
        ({"data_root": "{}", "ann_file": "c.json"}, {"c.json": "{'images'"}, r"c\.json: not valid JSON"),
        ({"data_root": "{}", "ann_file": "c.json"}, {"c.json": '{"annotations": []}'}, r"c\.json: no 'images'"),
        ({"data_root": "{}", "ann_file": "c.json"}, {"c.json": '{"images": []}'}, r"c\.json: no 'images'"),
        ({"data_root": "{}", "ann_file": "c.json"}, {"c.json": "[1]"}, r"c\.json: no 'images'"),
        (
            {"data_root": "{}", "ann_file": "c.json"},
            {"c.json": '{"images": [{"id": 1}]}'},
            r"images\[0\] has no 'file_name'",
        ),
        ({"sources": []}, {}, "sources is empty"),
        ({"sources": [{"root": "x"}]}, {}, r"unknown keys \['root'\]"),
        ({"sources": [{"data_root": "x"}], "data_root": "y"}, {}, "not both"),
        ({"data_root": "{}", "indices": 0}, {"a.jpg": "x"}, "indices is 0"),
        ({"data_root": "{}", "indices": [1]}, {"a.jpg": "x"}, r"indices \[1\] are outside 0\.\.0"),
        ({"data_root": "{}", "indices": []}, {"a.jpg": "x"}, "indices is empty"),
        ({"data_root": "{}", "indices": 0.5}, {"a.jpg": "x"}, "give a number of images, or a list of whole numbers"),
        ({"data_root": "{}", "indices": True}, {"a.jpg": "x"}, "list of whole numbers"),
        ({"data_root": "{}", "indices": [0.0]}, {"a.jpg": "x"}, "list of whole numbers"),
        ({"data_root": "{}", "indices": [True]}, {"a.jpg": "x"}, "list of whole numbers"),
        ({"data_root": "{}", "indices": ["0"]}, {"a.jpg": "x"}, "list of whole numbers"),
        ({"data_root": "{}", "indices": [[0], [0, 0]]}, {"a.jpg": "x"}, "list of whole numbers"),
        ({"data_root": "{}", "ann_file": "a.jpg/l.txt"}, {"a.jpg": "x"}, r"l\.txt: no such file"),
        (
            {"data_root": "{}", "ann_file": "c.json"},
            {"c.json": '{"images": [{"file_name": "a\\ud83d.jpg"}]}'},
            r"c\.json: no file can have a name",
        ),
    ],
)
def test_mistakes_are_named(tmp_path, arguments, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    filled = {k: v.replace("{}", str(tmp_path)) if isinstance(v, str) else v for k, v in arguments.items()}
    with pytest.raises(InputError, match=message):
        SceneImages(**filled)


def test_names_that_are_no_text_can_be_listed(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / "list.txt").write_bytes(b"caf\xe9.jpg\n")
    assert SceneImages(str(tmp_path), ann_file="list.txt").path(0) == str(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_named(photos):
    (photos / "sub").chmod(0)
    try:
        with pytest.raises(InputError, match="sub: the folder cannot be read"):
            SceneImages(str(photos))
    finally:
        (photos / "sub").chmod(0o700)


def test_a_folder_that_fails_is_named(photos, monkeypatch):
    real = os.scandir

    def failing(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr("mmsscl.datasets.photo_files.os.scandir", failing)
    with pytest.raises(InputError, match=r"deep: the folder cannot be read \(Permission denied\)"):
        SceneImages(str(photos))


def test_binary_list_is_named(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match=r"list\.txt: not a text file"):
        SceneImages(str(tmp_path), ann_file="list.txt")


def test_long_lists_are_checked_by_samples(tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(f"{number}.jpg" for number in range(50_000)))
    with pytest.raises(InputError, match=r"16667 of 16667 listed images checked"):
        SceneImages(str(tmp_path), ann_file="list.txt")
    assert len(SceneImages(str(tmp_path), ann_file="list.txt", check_files=False)) == 50_000


def test_samples(photos):
    seen = []
    dataset = DATASETS.build(
        {
            "type": "SceneImages",
            "data_root": str(photos),
            "seed": 7,
            "pipeline": [lambda results: seen.append(results) or results],
        }
    )
    sample = dataset[3, 1]
    assert set(sample) == {"img_path", "sample_idx", "epoch", "streams"}
    assert (sample["img_path"], sample["sample_idx"], sample["epoch"]) == (str(photos / "b.jpg"), 1, 3)
    again, other_epoch, other_index = dataset[3, 1], dataset[4, 1], dataset[3, 2]
    draw = sample["streams"].stream("crop").random()
    assert draw == again["streams"].stream("crop").random()
    assert draw != other_epoch["streams"].stream("crop").random()
    assert draw != other_index["streams"].stream("crop").random()
    assert dataset[np.int64(2)]["epoch"] == 0
    for outside in (4, -1):
        with pytest.raises(IndexError):
            dataset[0, outside]
    assert dataset.metainfo == {}
    dataset.full_init()


def test_a_transform_that_returns_none_is_named(photos):
    with pytest.raises(TypeError, match=r"returned None for .*a\.JPEG"):
        SceneImages(str(photos), pipeline=[lambda results: None])[0, 0]


def test_memory_is_lean(tmp_path):
    lines = [f"train2017/{number:012d}.jpg" for number in range(20_000)]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    dataset = SceneImages("photos", ann_file=str(tmp_path / "list.txt"), check_files=False)
    assert dataset.path(19_999) == "photos/train2017/000000019999.jpg"
    assert len(pickle.dumps(dataset)) < 20_000 * (len("photos/train2017/000000019999.jpg") + 8) + 5_000
