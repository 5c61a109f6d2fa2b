import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmsscl.cli import main
from tests.sample_runs import write_checkpoint, write_coco, write_photos

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Photos of two colours, in folders of that name: any network tells them apart."""
    folder = tmp_path_factory.mktemp("classes")
    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 8)):
        for label, channel in (("blue", 0), ("red", 2)):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                image = generator.integers(0, 60, (40, 48, 3), dtype=np.uint8)
                image[..., channel] += 190
                cv2.imwrite(str(folder / split / label / f"{number}.png"), image)
    write_checkpoint(folder / "epoch_1.pth")
    (folder / "other").mkdir()
    write_checkpoint(folder / "other/epoch_2.pth")
    (folder / "mixed/train/blue").mkdir(parents=True)
    write_photos(folder / "one/blue", 1, 20)
    write_photos(folder / "one/red", 3, 20)
    return folder


def run(place, *words):
    splits = ["--train", f"{place}/train", "--val", f"{place}/val"]
    return main(["eval", words[0], f"{place}/epoch_1.pth", *splits, "--size", "32", *words[1:]])


@pytest.mark.parametrize("measure", ["knn", "linear", "svm"])
def test_a_table_of_checkpoints_beside_random_weights(place, tmp_path, capsys, measure):
    out = tmp_path / "scores.json"
    more = {"knn": ["--k", "1", "5"], "linear": [], "svm": ["--shots", "1", "4", "--trials", "2"]}[measure]
    words = [f"{place}/other/epoch_2.pth", "--random", "--cache", str(tmp_path / "cache"), "--out", str(out), *more]
    assert run(place, measure, *words) == 0
    said = capsys.readouterr().out
    assert f"{measure}: 24 labelled photos, 16 classified, 2 classes" in said
    report = json.loads(out.read_text())
    assert list(report["scores"]) == ["random weights", "epoch_1", "epoch_2"]
    columns = {"knn": ["k=1 top-1", "k=1 top-5", "k=5 top-1", "k=5 top-5"], "linear": ["top-1", "top-5", "cost"],
               "svm": ["mAP", "1-shot mAP", "4-shot mAP"]}[measure]  # fmt: skip
    for name, scores in report["scores"].items():
        assert list(scores) == columns
        assert scores[columns[0]] > 90, name
        assert re.search(rf"{re.escape(name)} .*{scores[columns[0]]:.2f}", said)
    differences = report["differences"]
    shares = {"knn": columns, "linear": columns[:2], "svm": []}[measure]
    assert [row["name"] for row in differences] == (["epoch_1", "epoch_2"] if shares else [])
    for row in differences:
        assert (row["from"], row["photos"], list(row["scores"])) == ("random weights", 16, shares)
        for column, values in row["scores"].items():
            change = report["scores"][row["name"]][column] - report["scores"]["random weights"][column]
            assert values["difference"] == pytest.approx(change)
            assert values["low"] <= values["difference"] <= values["high"]
    assert ("difference from random weights [95 % of 2000 resamplings of the 16 photos]:" in said) == bool(shares)
    assert len(list((tmp_path / "cache").iterdir())) == 6
    assert report["versions"]["torch"] == torch.__version__
    assert run(place, measure, *words) == 0
    assert json.loads(out.read_text())["scores"] == report["scores"], "the same from the cache"


def test_one_cost_is_taken_as_it_is(place, tmp_path):
    out = tmp_path / "scores.json"
    for words, cost in ((["--costs", "3"], 3.0), (["--costs", "0.001", "3"], 3.0)):
        assert run(place, "linear", *words, "--out", str(out)) == 0
        assert json.loads(out.read_text())["scores"]["epoch_1"]["cost"] == cost


def test_svm_takes_jsons(place, tmp_path, capsys):
    options = write_coco(tmp_path, count=8)
    train, val, images = (options[f"dataset_from_json.{key}"] for key in ("train", "val", "images"))
    content = json.loads(Path(train).read_text())
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] % 2 or a["category_id"] == 50]
    for file in (train, val):
        Path(file).write_text(json.dumps(content))
    words = ["--train", train, "--val", val, "--images", images, "--size", "64"]
    assert main(["eval", "svm", f"{place}/epoch_1.pth", *words]) == 2
    assert "class 0: has no photo without it" in capsys.readouterr().err
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 3 or a["category_id"] == 49]
    for file in (train, val):
        Path(file).write_text(json.dumps(content))
    assert main(["eval", "svm", f"{place}/epoch_1.pth", *words]) == 0
    assert "svm: 8 labelled photos, 8 classified, 2 classes" in capsys.readouterr().out
    assert main(["eval", "knn", f"{place}/epoch_1.pth", "--train", train, "--val", val]) == 2
    assert "no such folder. Give one that holds a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("measure", "words", "message"),
    [
        ("knn", ["--train", "nowhere"], "nowhere: no such folder"),
        ("knn", ["--train", "{at}/one"], "hold other classes|k=20: neighbours are counted from 1 to the 4"),
        ("knn", ["--val", "{at}/mixed/train"], "holds 1 class folders"),
        ("knn", ["--k", "25"], "k=25: neighbours are counted from 1 to the 24"),
        ("knn", ["--temperature", "0"], "temperature=0"),
        ("knn", ["--size", "0"], "size=0"),
        ("knn", ["--short-side", "8"], "short_side=8"),
        ("knn", ["--stage", "9"], "--stage 9"),
        ("knn", ["--batch-size", "0"], "--batch-size 0"),
        ("knn", ["--device", "quantum"], "--device quantum"),
        ("knn", ["--out", "{at}"], "--out .*: is a folder"),
        ("knn", ["--cache", "{at}/epoch_1.pth"], "--cache: .* cannot be written"),
        ("linear", ["--costs", "1", "0"], "--costs 0: give numbers above 0"),
        ("linear", ["--costs", "nan"], "--costs nan: give numbers above 0"),
        ("linear", ["--train", "{at}/one"], r"class 0: has 1 photo\(s\)"),
        ("svm", ["--shots", "13"], "13 shots: class 0 has 12 photos"),
        ("svm", ["--trials", "0"], "--trials 0"),
        ("linear", ["--branch", "target", "--config", "{at}/none.py"], "no branches"),
        ("linear", ["--config", "{at}/none.py"], r"none\.py"),
    ],
)
def test_wrong_words_end_in_one_line(place, capsys, measure, words, message):
    assert run(place, measure, *(word.replace("{at}", str(place)) for word in words)) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("error: ")
    assert re.search(message, said[-1]), said
