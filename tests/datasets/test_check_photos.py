"""Photos that cannot be read are found, each with its reason."""
import os
import re

import cv2
import numpy as np
import pytest

from mmsscl.cli import main
from mmsscl.datasets.check_photos import check_photos, why_unreadable
from mmsscl.datasets.listed_photos import listed_photos
from mmsscl.errors import InputError
from tests.sample_runs import write_coco, write_photos

BAD = {
    "empty.jpg": (b"", "the file is empty"),
    "text.jpg": (b"404 not found" * 20, "not a readable image"),
    "cut.jpg": (None, "cut short"),
}


@pytest.fixture
def photos(tmp_path):
    folder = write_photos(tmp_path / "photos", 40)
    whole = (folder / "0.jpg").read_bytes()
    for name, (content, _) in BAD.items():
        (folder / name).write_bytes(whole[: len(whole) // 2] if content is None else content)
    return folder


@pytest.mark.parametrize("workers", [0, 2, None])
def test_reasons_come_in_the_order_of_the_paths(photos, workers):
    paths = sorted(map(str, photos.iterdir()))
    paths.append(str(photos / "absent.jpg"))
    reasons = dict(zip(paths, check_photos(paths, workers), strict=True))
    for name, (_, part) in BAD.items():
        assert part in reasons[str(photos / name)]
        assert name not in reasons[str(photos / name)]
    assert "absent" in reasons[str(photos / "absent.jpg")]
    assert sum(reason is None for reason in reasons.values()) == 40


def test_pixels_are_decoded_too(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    content = bytearray(cv2.imencode(".png", noise)[1].tobytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "flipped.png").write_bytes(content)
    assert "damaged" in why_unreadable(str(tmp_path / "flipped.png"))


def test_the_verb_lists_good_and_bad(photos, tmp_path, capsys):
    bad, good = tmp_path / "out" / "bad.txt", tmp_path / "good.txt"
    arguments = ["doctor", "data", str(photos), "--out", str(bad), "--good", str(good), "--workers", "0"]
    assert main(arguments) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "43 photos read, 3 bad"
    assert len(printed) == 4
    rows = [line.split("\t") for line in bad.read_text().splitlines()]
    assert [os.path.basename(path) for path, _ in rows] == sorted(BAD)
    assert all(BAD[os.path.basename(path)][1] in reason for path, reason in rows)
    # what it says is good can be given as it is
    assert main(["doctor", "data", str(good), "--workers", "0"]) == 0
    assert capsys.readouterr().out == "40 photos read, 0 bad\n"


def test_a_coco_json_names_its_photos(tmp_path, capsys):
    options = write_coco(tmp_path)
    json_file = next(value for value in map(str, _leaves(options)) if value.endswith(".json"))
    assert main(["doctor", "data", json_file, "--root", str(tmp_path / "images"), "--workers", "0"]) == 0
    assert "4 photos read, 0 bad" in capsys.readouterr().out
    assert main(["doctor", "data", json_file, "--root", str(tmp_path), "--workers", "0"]) == 1
    assert capsys.readouterr().out.count("the image is absent") == 4


def _leaves(node):
    if isinstance(node, dict):
        for value in node.values():
            yield from _leaves(value)
    else:
        yield node


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere"),
        (["{photos}", "--workers", "-1"], "--workers -1: give a number"),
        (["{photos}", "--root", "other"], "--root other: .* is no list of paths and needs none"),
        (["{photos}", "--out", "{photos}"], "--out .* is a folder. Name the file"),
        (["{photos}", "--good", "{photos}/0.jpg/good.txt"], "--good: .* cannot be written"),
    ],
)
def test_wrong_words_end_in_one_line(photos, capsys, arguments, message):
    assert main(["doctor", "data", *(word.replace("{photos}", str(photos)) for word in arguments)]) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert said.startswith("error: ")
    assert re.search(message, said), said


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="no images"):
        listed_photos(str(tmp_path))
