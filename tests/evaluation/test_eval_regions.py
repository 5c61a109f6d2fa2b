"""``eval regions`` from files to tables."""
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmsscl import cli
from mmsscl.datasets.listed_photos import listed_photos
from mmsscl.evaluation.eval_regions import format_report
from mmsscl.evaluation.feature_network import load_feature_network, random_feature_network
from mmsscl.evaluation.labelled_photos import boxed_photos, spread
from mmsscl.evaluation.region_pairs import PairSettings
from mmsscl.evaluation.region_quality import SCORES, region_quality
from mmsscl.registry import MODELS
from mmsscl.zoo.export import export_backbone
from mmsscl.zoo.safe_load import load_checkpoint
from tests.sample_runs import NARROW, write_coco, write_pretraining_config

SMALL = ["--size", "64", "--min-size", "8", "--boxes", "4", "--device", "cpu"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of a tiny run, its exported backbone, and photos with boxes."""
    folder = tmp_path_factory.mktemp("eval_regions")
    config = Config.fromfile(write_pretraining_config(folder, more=NARROW))
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    for parameter in model.target.parameters():
        parameter.data += 0.01
    torch.save(dict(state_dict=model.state_dict(), meta=dict(cfg=config.pretty_text, epoch=1)), folder / "epoch_1.pth")
    export_backbone(folder / "epoch_1.pth", folder / "backbone.pth")
    write_coco(folder / "coco", count=6)
    return dict(folder=folder, checkpoint=folder / "epoch_1.pth", backbone=folder / "backbone.pth",
                images=folder / "coco" / "images", json=folder / "coco" / "train.json")  # fmt: skip


def test_files_to_tables(run: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "new" / "scores.json"
    command = ["eval", "regions", run["checkpoint"], run["backbone"], "--images", run["images"], "--coco", run["json"]]
    command += [*SMALL, "--random", "--max-images", "5", "--corloc-size", "96", "--out", out]
    assert cli.main([*map(str, command)]) == 0
    table = capsys.readouterr().out
    report = json.loads(out.read_text())
    assert table.endswith(format_report(report) + "\n")
    networks = {"random weights (seed 0)": random_feature_network(run["checkpoint"])}
    networks |= {name: load_feature_network(run[key]) for name, key in (("epoch_1", "checkpoint"), ("backbone", "backbone"))}
    boxed = boxed_photos(run["images"], run["json"], 5)
    pairs = PairSettings(size=64, num_boxes=4, min_size=8, photometric=True)
    wanted = region_quality(networks, boxed.paths, pairs, boxed=boxed, corloc_size=96)
    assert report == json.loads(json.dumps(wanted))
    rows = {row["name"]: row for row in report["rows"]}
    assert list(rows) == [*networks, "position", "color", "chance"]
    # the online branch, as exported
    assert rows["epoch_1"]["all"] == rows["backbone"]["all"] != rows["random weights (seed 0)"]["all"]
    lines = format_report(report).splitlines()
    assert lines[0].split() == [word for among in ("photo", "all") for score in SCORES for word in (among, score)]
    assert lines[2].split()[1:] == [f"{rows['epoch_1'][among][score]:.4f}" for among in ("photo", "all") for score in SCORES]
    assert any(line.split() == ["corloc", "corloc_part", "mass_inside"] for line in lines)
    assert "20 regions" in table
    assert "of 5 photos (0 without one left out), views of 64 px, colors distorted, seed 0" in table


def scores(run: dict[str, Path], out: Path, *words: str) -> dict:
    command = ["eval", "regions", run["checkpoint"], "--images", run["images"], *SMALL, "--out", out, *words]
    assert cli.main([*map(str, command)]) == 0
    report: dict = json.loads(out.read_text())
    return report


def test_options_reach_what_they_name(run: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "scores.json"
    plain = scores(run, out)
    assert (plain["photos"], plain["corloc"]) == (6, None)
    assert scores(run, out, "--batch-size", "1")["queries"] == 24
    for words, key, value in (
        (["--seed", "4"], "seed", 4),
        (["--no-distortion"], "photometric", False),
        (["--aligned"], "aligned", True),
        (["--same-iou", "0.1"], "same_iou", 0.1),
        (["--stage", "2"], "strides", {"epoch_1": 16}),
        (["--branch", "target"], "seed", 0),
    ):
        changed = scores(run, out, *words)
        assert changed["settings"][key] == value
        assert changed["rows"][0] != plain["rows"][0], words
    assert "colors as they are" in format_report(scores(run, out, "--no-distortion"))
    # sizes that no region has: views of 64 px have two cells
    assert plain["rows"][0]["sizes"]["large"] == dict(queries=0, photo=None, all=None)
    assert "0 large" in format_report(plain)
    (tmp_path / "list.txt").write_text("3.jpg\n1.jpg\n")
    assert scores(run, out, "--images", str(tmp_path / "list.txt"), "--root", str(run["images"]))["photos"] == 2


def test_bad_input(run: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def message(*words: str | Path, checkpoint: Path = run["checkpoint"], images: Path = run["images"]) -> str:
        assert cli.main(["eval", "regions", *map(str, (checkpoint, "--images", images, *SMALL, *words))]) == 2
        return capsys.readouterr().err

    (tmp_path / "empty").mkdir()
    assert f"{tmp_path / 'empty'}" in message(images=tmp_path / "empty")
    assert "absent" in message(images=tmp_path / "absent")
    (tmp_path / "tiny").mkdir()
    cv2.imwrite(str(tmp_path / "tiny" / "dot.png"), np.zeros((5, 5, 3), np.uint8))
    assert "dot.png: 5 x 5 pixels, too small for boxes" in message(images=tmp_path / "tiny")
    assert "no such file" in message(checkpoint=tmp_path / "absent.pth")
    (tmp_path / "text.pth").write_text("no weights")
    assert "text.pth" in message(checkpoint=tmp_path / "text.pth")
    content = load_checkpoint(run["checkpoint"])
    content["state_dict"]["backbone.layer4.1.conv2.weight"].fill_(float("nan"))
    torch.save(content, tmp_path / "diverged.pth")
    assert "diverged: its features of" in message(checkpoint=tmp_path / "diverged.pth")
    for words, text in (
        (["--max-images", "0"], "--max-images 0"),
        (["--boxes", "1"], "--boxes 1"),
        (["--same-iou", "0"], "--same-iou 0"),
        (["--size", "80"], "stride of 32 px"),
        (["--coco", run["json"], "--root", tmp_path], "--root"),
        (["--coco", tmp_path / "absent.json"], "absent.json"),
        (["--out", tmp_path], "is a folder"),
        (["--out", tmp_path / "text.pth" / "x.json"], "cannot be written to"),
        (["--device", "gpu"], "--device gpu"),
        (["--stage", "9"], "--stage 9"),
    ):
        assert text in message(*words), words


@pytest.mark.skipif("MMSSCL_DATA" not in os.environ, reason="MMSSCL_DATA names no folder of real photos")
def test_photos_of_scenes_tell_regions_apart(run: dict[str, Path]) -> None:
    folder = Path(os.environ["MMSSCL_DATA"]) / "voc_scenes"
    paths = spread(listed_photos(str(folder / "instances_val.json"), str(folder / "images")), 24)
    networks = {"random": random_feature_network(run["checkpoint"])}
    report = region_quality(networks, paths, PairSettings(size=128, min_size=16))
    rows = {row["name"]: row["photo"]["top1"] for row in report["rows"]}
    assert rows["chance"] == pytest.approx(0.1)
    assert rows["color"] > 0.95 > rows["random"] > 0.2
