"""The bad-input matrix: each case ends in one message that names the place and a remedy, or is read as it should be.

Never a traceback of a library, never silence. Cases of single functions are beside these functions' tests.
"""
import io
import json
import math
import re
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from mmsscl.cli import main
from mmsscl.datasets import SceneImages
from mmsscl.datasets.check_photos import why_unreadable
from mmsscl.engine.check_coco import check_coco
from mmsscl.errors import InputError
from mmsscl.zoo.safe_load import load_checkpoint, state_dict_of
from tests.sample_runs import write_coco, write_photos, write_pretraining_config

PHOTO = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)


def encoded(kind, image=None, **options):
    stream = io.BytesIO()
    (Image.fromarray(PHOTO) if image is None else image).save(stream, kind, **options)
    return stream.getvalue()


def png_of(width, height, rows=b""):
    """A PNG whose header says anything: gray, 1 bit, ``rows`` compressed."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def frames(kind):
    images = [Image.fromarray(np.roll(PHOTO, shift, 1)) for shift in range(3)]
    stream = io.BytesIO()
    images[0].save(stream, kind, save_all=True, append_images=images[1:])
    return stream.getvalue()


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def half_with_mended_length(data):
    return data[:4] + struct.pack("<I", len(data) // 2 - 8) + data[8 : len(data) // 2]


# what is unusual and yet a photo: its height and width
GOOD_PHOTOS = {
    "one pixel jpeg": (encoded("JPEG", Image.new("RGB", (1, 1))), (1, 1)),
    "one pixel png": (encoded("PNG", Image.new("RGB", (1, 1))), (1, 1)),
    "one pixel webp": (encoded("WEBP", Image.new("RGB", (1, 1))), (1, 1)),
    "one row": (encoded("PNG", Image.new("RGB", (500, 1))), (1, 500)),
    "one column": (encoded("PNG", Image.new("RGB", (1, 500))), (500, 1)),
    "16 bit": (encoded("PNG", Image.fromarray(np.arange(4800, dtype=np.uint16).reshape(60, 80) * 13)), (60, 80)),
    "1 bit": (encoded("PNG", Image.fromarray(PHOTO).convert("1")), (60, 80)),
    "palette": (encoded("PNG", Image.fromarray(PHOTO).convert("P")), (60, 80)),
    "palette with transparency": (encoded("PNG", Image.fromarray(PHOTO).convert("P"), transparency=0), (60, 80)),
    "gray jpeg": (encoded("JPEG", Image.fromarray(PHOTO).convert("L")), (60, 80)),
    "gray with alpha": (encoded("PNG", Image.fromarray(PHOTO).convert("LA")), (60, 80)),
    "alpha png": (encoded("PNG", Image.fromarray(PHOTO).convert("RGBA")), (60, 80)),
    "alpha webp": (encoded("WEBP", Image.fromarray(PHOTO).convert("RGBA")), (60, 80)),
    "cmyk": (encoded("JPEG", Image.fromarray(PHOTO).convert("CMYK")), (60, 80)),
    "ycbcr": (encoded("JPEG", Image.fromarray(PHOTO).convert("YCbCr")), (60, 80)),
    "progressive": (encoded("JPEG", progressive=True), (60, 80)),
    "lossless webp": (encoded("WEBP", lossless=True), (60, 80)),
    "animated png, its first frame": (frames("PNG"), (60, 80)),
    "animated webp, its first frame": (frames("WEBP"), (60, 80)),
    "bytes behind the end": (encoded("JPEG") + b"\0" * 100, (60, 80)),
    "panorama": (encoded("JPEG", Image.new("RGB", (30_000, 40))), (40, 30_000)),
    "rotated": (encoded("JPEG", exif=rotated()), (80, 60)),
}
BAD_PHOTOS = {
    "empty": (b"", "is empty"),
    "one byte": (b"\xff", "not a readable image"),
    "text": (b"<html>404</html>" * 9, "not a readable image"),
    "zeros": (bytes(5000), "not a readable image"),
    "gif": (frames("GIF"), "not a readable image.*JPEG, PNG or WebP"),
    "tiff": (encoded("TIFF"), "not a readable image"),
    "bmp": (encoded("BMP"), "not a readable image"),
    "pdf": (b"%PDF-1.7" + bytes(100), "not a readable image"),
    "jpeg magic alone": (b"\xff\xd8", "cut short"),
    "png magic alone": (b"\x89PNG\r\n\x1a\n", "cut short"),
    "webp magic alone": (b"RIFF\x10\0\0\0WEBP", "cut short"),
    "png without pixels": (png_of(0, 10), "size 0x10"),
    "png bomb": (png_of(60_000, 60_000), r"60000 x 60000 pixels, more than .* Make it smaller"),
    "png with too few rows": (png_of(800, 800, bytes(101 * 3)), "damaged"),
    "png bomb just allowed, no data": (png_of(16_384, 16_384), "damaged"),
    "webp cut and its length mended": (half_with_mended_length(encoded("WEBP", quality=90)), "damaged"),
}
for _kind in ("JPEG", "PNG", "WEBP"):
    _whole = encoded(_kind, quality=95)
    for _tenth in range(1, 10):
        BAD_PHOTOS[f"{_kind.lower()} cut at {_tenth} tenths"] = (_whole[: len(_whole) * _tenth // 10], "cut short|damaged")


@pytest.mark.parametrize("case", GOOD_PHOTOS)
def test_unusual_photos_are_read(tmp_path, case):
    content, size = GOOD_PHOTOS[case]
    (tmp_path / "photo.jpg").write_bytes(content)
    assert why_unreadable(str(tmp_path / "photo.jpg")) is None
    steps = [{"type": "LoadSceneImage"}, {"type": "SpatialConsistentPair", "size": 32, "boxes": {"type": "WholeViewBox"}}]
    sample = SceneImages(data_root=str(tmp_path), pipeline=steps)[0]
    assert (sample["image"].height, sample["image"].width) == size
    assert [view.shape for view in sample["views"]] == [(3, 32, 32)] * 2


@pytest.mark.parametrize("case", BAD_PHOTOS)
def test_bad_photos_say_why(tmp_path, case):
    content, message = BAD_PHOTOS[case]
    (tmp_path / "photo.jpg").write_bytes(content)
    reason = why_unreadable(str(tmp_path / "photo.jpg"))
    assert reason is not None, "read as if nothing were wrong"
    assert re.search(message, reason), reason
    assert re.search(r"[Ff]etch it again|[Cc]onvert it|Make it smaller", reason), f"no remedy: {reason}"


def _set(key, value, position=1):
    return lambda content, part: content[part][position].update({key: value})


def _drop(key):
    return lambda content, part: content[part][1].pop(key)


def _replace(value):
    return lambda content, part: content[part].__setitem__(1, value)


BAD_JSONS = [
    ("images", _replace("photo.jpg"), r"images\[1\] is no object"),
    ("images", _replace(None), r"images\[1\] is no object"),
    ("images", _drop("id"), r"images\[1\] has no id"),
    ("images", _set("id", 1.5), r"images\[1\] has no id"),
    ("images", _set("id", True), r"images\[1\] has no id"),
    ("images", _set("id", None), r"images\[1\] has no id"),
    ("images", _set("id", 1), r"images\[1\] has the id 1 of images\[0\]"),
    ("images", _drop("file_name"), r"images\[1\] has no file_name"),
    ("images", _set("file_name", ""), r"images\[1\] has no file_name"),
    ("images", _set("file_name", 7), r"images\[1\] has no file_name"),
    ("images", _drop("width"), r"images\[1\] has no width and height"),
    ("images", _drop("height"), r"images\[1\] has no width and height"),
    ("images", _set("width", 0), r"images\[1\] has no width and height"),
    ("images", _set("height", -96), r"images\[1\] has no width and height"),
    ("images", _set("height", "96"), r"images\[1\] has no width and height"),
    ("images", _set("width", math.nan), r"images\[1\] has no width and height"),
    ("categories", _replace("red"), r"categories\[1\] is no object"),
    ("categories", _drop("id"), r"categories\[1\] has no id"),
    ("categories", _set("id", 50), r"categories\[1\] has the id 50 of categories\[0\]"),
    ("categories", _set("id", [1]), r"categories\[1\] has no id"),
    ("annotations", _replace([1, 2]), r"annotations\[1\] is no object"),
    ("annotations", _drop("id"), r"annotations\[1\] has no id"),
    ("annotations", _set("id", 1), r"annotations\[1\] has the id 1 of annotations\[0\]"),
    ("annotations", _drop("image_id"), r"annotations\[1\] has an image_id that no image has"),
    ("annotations", _set("image_id", 99), r"annotations\[1\] has an image_id that no image has"),
    ("annotations", _set("image_id", "1"), r"annotations\[1\] has an image_id that no image has"),
    ("annotations", _set("image_id", {}), r"annotations\[1\] has an image_id that no image has"),
    ("annotations", _drop("category_id"), r"annotations\[1\] has a category_id that no category has"),
    ("annotations", _set("category_id", 0), r"annotations\[1\] has a category_id that no category has"),
    ("annotations", _drop("bbox"), r"annotations\[1\] has no usable bbox"),
    ("annotations", _set("bbox", []), r"annotations\[1\] has no usable bbox"),
    ("annotations", _set("bbox", [1, 2, 3]), r"annotations\[1\] has no usable bbox"),
    ("annotations", _set("bbox", [1, 2, 3, 4, 5]), r"annotations\[1\] has no usable bbox"),
    ("annotations", _set("bbox", [math.nan, 2, 3, 4]), r"annotations\[1\] has no usable bbox"),
    ("annotations", _set("bbox", [1, 2, math.inf, 4]), r"annotations\[1\] has no usable bbox"),
    ("annotations", _set("bbox", [1, 2, -3, 4]), r"annotations\[1\] has no usable bbox"),
    ("annotations", _set("bbox", ["1", "2", "3", "4"]), r"annotations\[1\] has no usable bbox"),
    ("annotations", _set("bbox", {"x": 1}), r"annotations\[1\] has no usable bbox"),
    ("annotations", _set("bbox", None), r"annotations\[1\] has no usable bbox"),
    ("annotations", _drop("area"), r"annotations\[1\] has no area"),
    ("annotations", _set("area", -1), r"annotations\[1\] has no area"),
    ("annotations", _set("area", math.nan), r"annotations\[1\] has no area"),
    ("annotations", _drop("iscrowd"), r"annotations\[1\] has no iscrowd"),
    ("annotations", _set("iscrowd", "no"), r"annotations\[1\] has no iscrowd"),
]


@pytest.mark.parametrize(
    ("part", "change", "message"), BAD_JSONS, ids=[f"{part} {number}" for number, (part, *_) in enumerate(BAD_JSONS)]
)
def test_jsons_with_a_fault_say_where(tmp_path, part, change, message):
    write_coco(tmp_path)
    content = json.loads((tmp_path / "train.json").read_text())
    check_coco(content, tmp_path / "train.json")
    change(content, part)
    with pytest.raises(InputError, match=rf"train\.json: {message}") as error:
        check_coco(content, tmp_path / "train.json")
    assert re.search(r"(Give|Number|Write|Each|Remove|Correct|A box is) [^:]*\.$", str(error.value)), "no remedy at its end"


def test_a_fault_of_many_entries_is_counted(tmp_path):
    write_coco(tmp_path)
    content = json.loads((tmp_path / "train.json").read_text())
    for annotation in content["annotations"]:
        del annotation["area"]
    with pytest.raises(InputError, match=rf"annotations\[0\] has no area \({len(content['annotations'])} such entries\)"):
        check_coco(content, tmp_path / "train.json")


LISTS = {
    "empty.txt": ("", "the list names no image"),
    "comments.txt": ("# a\n\n  \n# b\n", "the list names no image"),
    "absent.txt": ("nowhere.jpg\n", "1 of 1 listed images checked are absent"),
    "latin.txt": ("caf\xe9.jpg\n".encode("latin-1"), "not a text file in UTF-8"),
    "binary.txt": (bytes(range(256)), "not a text file in UTF-8"),
    "empty.json": ("", "not valid JSON"),
    "cut.json": ('{"images": [{"file_', "not valid JSON"),
    "list.json": ("[]", "no 'images' in this file"),
    "number.json": ("5", "no 'images' in this file"),
    "null.json": ('{"images": null}', "no 'images' in this file"),
    "none.json": ('{"images": []}', "no 'images' in this file"),
    "strings.json": ('{"images": ["a.jpg"]}', r"images\[0\] has no 'file_name'"),
    "nameless.json": ('{"images": [{"id": 1}]}', r"images\[0\] has no 'file_name'"),
    "numbered.json": ('{"images": [{"file_name": 3}]}', r"images\[0\] has no 'file_name'"),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_photos_with_a_fault_say_so(tmp_path, name):
    content, message = LISTS[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=rf"{re.escape(name)}: .*{message}"):
        SceneImages(data_root=str(tmp_path), ann_file=name)


def _torch_bytes(content, **options):
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


WEIGHTS = _torch_bytes({"state_dict": {"weight": torch.arange(3000.0)}})
CHECKPOINTS = {
    "empty": (b"", "is empty"),
    "text": (b"hello world", "is a text file"),
    "html": (b"<!DOCTYPE html>", "is a text file"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
    "binary": (bytes(range(200, 256)) * 9, "not a file of torch.save"),
    "binary that begins as a pickle": (bytes(range(128, 256)) * 9, "cannot be read"),
    "zip that is none of torch": (b"PK\x05\x06" + bytes(18), "cannot be read"),
    "list": (_torch_bytes([1, 2]), "holds a list"),
    "tensor": (_torch_bytes(torch.ones(3)), "holds a Tensor"),
    "number": (_torch_bytes(7), "holds a int"),
    "no tensors": (_torch_bytes({"epoch": 3}), "holds no tensors"),
    "empty dict": (_torch_bytes({}), "holds no tensors"),
    "empty state": (_torch_bytes({"state_dict": {}}), "holds no tensors"),
    **{f"cut at {tenth} tenths": (WEIGHTS[: len(WEIGHTS) * tenth // 10], "cannot be read") for tenth in range(1, 10)},
}


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_checkpoints_with_a_fault_say_so(tmp_path, case):
    content, message = CHECKPOINTS[case]
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(InputError, match=rf"checkpoint .*weights\.pth: .*{message}"):
        state_dict_of(load_checkpoint(file), file)
    assert file.read_bytes() == content


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a config, photos, a text that is no config, and a checkpoint of nothing known."""
    folder = tmp_path_factory.mktemp("words")
    config = write_pretraining_config(folder)
    assert config.name == "tiny_scrl.py"
    (folder / "broken.py").write_text("model = dict(\n")
    (folder / "raises.py").write_text("raise ValueError('no')\n")
    (folder / "empty.py").write_text("")
    (folder / "list.json").write_text("[]")
    (folder / "weights.pth").write_bytes(WEIGHTS)
    write_photos(folder / "few", 1)
    (folder / "none").mkdir()
    return folder


SET = "--cfg-options"
WORDS = [
    (["train", "absent.py"], r"absent\.py"),
    (["train", "{at}/none"], "none"),
    (["train", "{at}/broken.py"], r"broken\.py"),
    (["train", "{at}/raises.py"], r"raises\.py"),
    (["train", "{at}/empty.py"], r"empty\.py: has no train_dataloader"),
    (["train", "{at}/list.json"], r"list\.json"),
    (["train", "{at}/weights.pth"], r"weights\.pth"),
    (["train", "{config}", "--resume", "{at}/absent.pth"], r"absent\.pth: no such file"),
    (["train", "{config}", "--resume", "{at}/weights.pth"], "not the state of a run"),
    (["train", "{config}", "--resume", "{at}/none"], "is a folder"),
    (["train", "{config}", "--work-dir", "{config}"], "is a file"),
    (["train", "{config}", "--amp", "fp16"], "needs a GPU"),
    (["train", "{config}", "--launcher", "pytorch"], "the environment lacks"),
    (["train", "{config}", SET, "load_from={at}/absent.pth"], r"load_from: .*absent\.pth"),
    (["train", "{config}", SET, "model.type=SCRLL"], "SCRL"),
    (["train", "{config}", SET, "model.backbone.depth=19"], "19"),
    (["train", "{config}", SET, "model.neck.in_channels=64"], "64"),
    (["train", "{config}", SET, "train_dataloader.batch_size=0"], "batch_size"),
    (["train", "{config}", SET, "train_dataloader.batch_size=-4"], "batch_size"),
    (["train", "{config}", SET, "train_dataloader.batch_size=four"], "batch_size"),
    (["train", "{config}", SET, "train_dataloader.batch_size=900"], "fewer than one batch"),
    (["train", "{config}", SET, "train_dataloader.num_workers=-1"], "num_workers"),
    (["train", "{config}", SET, "train_dataloader.dataset.data_root={at}/none"], "no images in this folder"),
    (["train", "{config}", SET, "train_dataloader.dataset.data_root={at}/absent"], "no such folder"),
    (["train", "{config}", SET, "train_dataloader.dataset.data_root="], "data_root is empty"),
    (["train", "{config}", SET, "train_cfg.max_epochs=0"], "max_epochs"),
    (["train", "{config}", SET, "train_cfg.max_epochs=-1"], "max_epochs"),
    (["train", "{config}", SET, "train_cfg.max_epochs=1.5"], "max_epochs"),
    (["train", "{config}", SET, "optim_wrapper.optimizer.lr=-1"], "lr=-1"),
    (["train", "{config}", SET, "optim_wrapper.optimizer.momentum=1.0"], "momentum=1.0"),
    (["train", "{config}", SET, "modle.type=SCRL"], "modle"),
    (["train", "{config}", SET, "custom_hooks=5"], "custom_hooks"),
    (["test", "{config}", "{at}/weights.pth"], "nothing to evaluate"),
    (["test", "{at}/absent.py", "{at}/weights.pth"], r"absent\.py"),
    (["export", "{at}/absent.pth", "{at}/out.pth"], r"absent\.pth: no such file"),
    (["export", "{at}/none", "{at}/out.pth"], "is a folder"),
    (["export", "{at}/weights.pth", "{at}/out.pth"], r"weights\.pth"),
    (["browse", "pairs", "{at}/absent.py"], r"absent\.py"),
    (["predict", "{config}", "{at}/weights.pth", "{at}/photos"], r"config|weights\.pth"),
    (["browse", "saliency", "{config}", "{at}/weights.pth"], "SaliencyRefreshHook|estimator"),
    (["browse", "saliency", "{config}", "--history", "{at}/absent.npz"], r"absent\.npz"),
    (["eval", "saliency", "{config}", "{at}/weights.pth", "--images", "{at}/none", "--masks", "{at}/none"], "none"),
    (["doctor", "data", "{at}/none"], "no images"),
]


@pytest.mark.parametrize(("words", "message"), WORDS, ids=[" ".join(words) for words, _ in WORDS])
def test_wrong_words_end_in_one_line_and_status_two(place, tmp_path, monkeypatch, capfd, words, message):
    monkeypatch.chdir(tmp_path)
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    words = [word.format(at=place, config=place / "tiny_scrl.py") for word in words]
    before = {file: file.stat().st_mtime_ns for file in place.rglob("*")}
    assert main(words) == 2
    said = capfd.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: "), said
    assert re.search(message, said), said
    assert {file: file.stat().st_mtime_ns for file in place.rglob("*")} == before


@pytest.mark.parametrize("verb", ["train", "browse pairs", "predict", "browse saliency", "eval saliency", "test"])
def test_options_without_a_value_are_named(verb, capsys):
    arguments = {"eval saliency": ["--images", "a", "--masks", "b"]}.get(verb, [])
    photos = ["photos"] if verb == "predict" else []
    with pytest.raises(SystemExit) as stop:
        main([*verb.split(), "config.py", "weights.pth", *photos, *arguments, SET, "nonsense"])
    assert stop.value.code == 2
    assert "argument --cfg-options: 'nonsense' is not of the form KEY=VALUE" in capsys.readouterr().err


def test_where_a_value_fails_is_shown_to_who_asks(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["train", str(place / "tiny_scrl.py"), SET, "model.backbone.depth=19"]
    assert main(words) == 2
    assert "mmsscl.errors.InputError: " not in capsys.readouterr().err
    monkeypatch.setenv("MMSSCL_TRACEBACK", "1")
    assert main(words) == 2
    assert "mmsscl.errors.InputError: " in capsys.readouterr().err
