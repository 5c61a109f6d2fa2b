"""``mmsscl export`` as the command line calls it."""

import json
import re

import pytest

from mmsscl import cli
from tests.sample_backbones import resnet, save, under


def run(*words):
    return cli.main(["export", *map(str, words)])


@pytest.fixture(scope="module")
def moco_file(tmp_path_factory):
    state = {f"module.{name}": value for name, value in under("encoder_q.", resnet(18)).items()}
    return save({"state_dict": state, "epoch": 800}, tmp_path_factory.mktemp("moco") / "moco.pth.tar")


def test_says_what_was_found_and_must_be_set(moco_file, tmp_path, capsys):
    report = tmp_path / "report.json"
    assert run(moco_file, tmp_path / "out.pth", "--report", report) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'out.pth'}: 120 of 120 keys, sha256 ")
    assert lines[1] == "read: ResNet-18, online branch; moco: MoCo v1 and v2 (facebookresearch/moco)"
    assert lines[2] == "left out: encoder_q.fc (2)"
    assert lines[3].startswith("images: RGB, mean [123.675, 116.28, 103.53], std [58.395, 57.12, 57.375] (by what MoCo")
    assert lines[4].startswith("set in mmdet: model.data_preprocessor: mean=[123.675, 116.28, 103.53]")
    told = json.loads(report.read_text())
    assert (told["layout"], told["keys"], told["mismatch"]) == ("moco", 120, None)
    assert told["sha256"].startswith(lines[0][-8:])


def test_a_mismatch_is_named(moco_file, tmp_path, capsys):
    words = ["--mean", "0.5", "0.5", "0.5", "--std", "0.5", "0.5", "0.5", "--channel-order", "BGR", "--to", "mmpretrain"]
    assert run(moco_file, tmp_path / "out.safetensors", *words) == 0
    said = capsys.readouterr().out
    assert "mismatch: mmpretrain's own configs normalise otherwise; this backbone needs channel order BGR, not RGB" in said
    numbers = "mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]"
    assert f"set in mmpretrain: data_preprocessor: {numbers}, to_rgb=False" in said
    assert "note: mean and std are of pixels from 0 to 1" in said


def test_what_it_must_be_is_checked(moco_file, tmp_path, capsys):
    assert run(moco_file, tmp_path / "out.pth", "--arch", "resnet50") == 2
    assert "not the resnet50" in capsys.readouterr().err
    assert run(moco_file, tmp_path / "out.pth", "--from", "scrl") == 2
    assert "no backbone in the layout scrl" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["moco.pth.tar", "out.pth", "folder/../out.pth"])
def test_the_report_takes_no_other_files_place(moco_file, tmp_path, capsys, name):
    source = tmp_path / "moco.pth.tar"
    source.write_bytes(moco_file.read_bytes())
    (tmp_path / "folder").mkdir()
    assert run(source, tmp_path / "out.pth", "--report", tmp_path / name) == 2
    assert "--report" in capsys.readouterr().err
    assert source.read_bytes() == moco_file.read_bytes()
    assert not (tmp_path / "out.pth").exists()


def test_where_nothing_can_be_written_is_told_before_anything_is(moco_file, tmp_path, capsys):
    output = tmp_path / "out.pth"
    for words, said in (
        ([output, "--report", tmp_path], "is a folder"),
        ([output, "--report", moco_file / "report.json"], "--report: .* cannot be written to"),
        (["/proc/none/out.pth"], "OUTPUT: /proc/none cannot be written to"),
        ([moco_file / "out.pth"], r"OUTPUT: .* cannot be written to .* Choose another folder"),
    ):
        assert run(moco_file, *words) == 2
        assert re.search(said, capsys.readouterr().err)
        assert not output.exists()
