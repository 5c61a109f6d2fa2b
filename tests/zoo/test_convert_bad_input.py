"""What cannot be converted is refused by name, and nothing is written."""

import os
import sys

import pytest
import timm
import torch
import torchvision

from mmsscl.errors import InputError
from mmsscl.zoo.convert import convert_backbone
from mmsscl.zoo.safe_load import load_checkpoint
from tests.sample_backbones import resnet, save, under
from tests.sample_runs import write_checkpoint


@pytest.fixture(scope="module")
def state():
    return resnet(18).state_dict()


@pytest.fixture(scope="module")
def plain(state, tmp_path_factory):
    return save(state, tmp_path_factory.mktemp("plain") / "resnet18.pth")


def refused(source, tmp_path, match, **options):
    output = tmp_path / options.pop("output", "out.pth")
    with pytest.raises(InputError, match=match):
        convert_backbone(source, output, **options)
    assert not output.exists()


class MakesFolder:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("name", ["moco.pth.tar", "model.safetensors"])
def test_code_in_a_foreign_file_is_refused_and_not_run(state, tmp_path, name):
    target = tmp_path / "made_by_the_file"
    content = {"state_dict": {f"module.encoder_q.{key}": value for key, value in state.items()}, "x": MakesFolder(target)}
    file = save(content, tmp_path / name)
    refused(file, tmp_path, "would run code" if name.endswith("tar") else "cannot be read as safetensors")
    assert not target.exists()


def test_malformed_safetensors(plain, tmp_path):
    whole = convert_backbone(plain, tmp_path / "whole.safetensors").path
    with open(whole, "rb") as stream:
        content = stream.read()
    overwritten = content[:8] + b"?" * 500 + content[508:]
    for number, damaged in enumerate((content[:1000], content[:-1000], b"\xff" * 64, overwritten)):
        file = tmp_path / f"{number}.safetensors"
        file.write_bytes(damaged)
        refused(file, tmp_path, rf"{number}\.safetensors: cannot be read as safetensors .* bytes")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    refused(tmp_path / "empty.safetensors", tmp_path, "is empty")
    refused(tmp_path / "none.safetensors", tmp_path, "no such file")


def test_without_the_package_the_command_is_named(plain, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    refused(plain, tmp_path, "pip install safetensors", output="out.safetensors")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: torchvision.models.vgg11(weights=None), "no backbone of a known layout.*features.*Known are"),
        (lambda: torchvision.models.vit_b_16(weights=None), "no backbone of a known layout"),
        (lambda: torchvision.models.wide_resnet50_2(weights=None), r"of another shape: layer1\.0\.conv1\.weight.*variants"),
        (lambda: torchvision.models.resnext50_32x4d(weights=None), "of another shape"),
        (lambda: timm.create_model("seresnet18"), "unexpected in the file"),
        (lambda: timm.create_model("resnet26"), r"2 \+ 2 \+ 2 \+ 2 bottleneck blocks is not known"),
        (lambda: timm.create_model("resnet50d"), "no backbone of a known layout"),
    ],
)
def test_networks_that_are_not_known(tmp_path, network, message):
    torch.manual_seed(0)
    refused(save(network().state_dict(), tmp_path / "other.pth"), tmp_path, f"(?s){message}")


def test_missing_keys_are_listed(state, tmp_path):
    holed = {name: value for name, value in state.items() if not name.startswith("layer3.0.bn2")}
    file = save(holed, tmp_path / "holed.pth")
    refused(file, tmp_path, r"a ResNet-18.*4 missing in the file: layer3\.0\.bn2\.weight, layer3\.0\.bn2\.bias")
    cut = {name: value for name, value in state.items() if not name.startswith("layer4.1")}
    refused(save(cut, tmp_path / "cut.pth"), tmp_path, r"2 \+ 2 \+ 2 \+ 1 basic blocks is not known, or keys are missing")


def test_a_depth_that_does_not_fit(plain, tmp_path):
    refused(plain, tmp_path, "holds a resnet18, not the resnet50", arch="resnet50")
    refused(plain, tmp_path, "--arch resnet19: no such network. Use one of: resnet18", arch="resnet19")


def test_options_that_do_not_exist(plain, tmp_path):
    refused(plain, tmp_path, r"--to detectron: no such library. Did you mean detectron2\?", to="detectron")
    refused(plain, tmp_path, r"--from simsiamm: no such layout. Did you mean simsiam\?", layout="simsiamm")
    refused(plain, tmp_path, "--branch both: no such branch", branch="both")
    refused(plain, tmp_path, "holds no target network .a network of torchvision.*it never has one", branch="target")


def test_a_layout_that_the_file_does_not_have(plain, state, tmp_path):
    refused(plain, tmp_path, "no backbone in the layout moco .*'encoder_q.'.*looks like torchvision", layout="moco")
    refused(plain, tmp_path, "holds no training config", layout="mmsscl")
    file = save({"state_dict": {f"m.{name}": value for name, value in state.items()}}, tmp_path / "m.pth")
    refused(file, tmp_path, r"122 tensors: m\.conv1 \(1\), m\.bn1 \(5\).*kakaobrain/scrl")


def test_outputs_that_do_not_go_together(plain, tmp_path):
    match = r"detectron2 reads no safetensors. Name it .*out\.pth"
    refused(plain, tmp_path, match, output="out.safetensors", to="detectron2")
    refused(plain, tmp_path, r"known by their ending. Name it .*out\.safetensors", safetensors=True)
    with pytest.raises(InputError, match="is the file that is read"):
        convert_backbone(plain, plain)
    report = convert_backbone(plain, tmp_path / "backbone", safetensors=True)
    assert report.path == str(tmp_path / "backbone.safetensors")
    with pytest.raises(InputError, match="exported already"):
        convert_backbone(report.path, tmp_path / "again.safetensors")


def test_meta_travels_along(tmp_path):
    source = write_checkpoint(tmp_path / "epoch_1.pth")
    reports = {
        "pth": convert_backbone(source, tmp_path / "a.pth", to="mmpretrain", branch="target"),
        "safetensors": convert_backbone(source, tmp_path / "a.safetensors", to="mmpretrain", branch="target"),
        "detectron2": convert_backbone(source, tmp_path / "d2.pth", to="detectron2", branch="target"),
    }
    metas = {name: load_checkpoint(report.path)["meta"] for name, report in reports.items()}
    for name, meta in metas.items():
        assert meta["arch"] == "ResNet-18", name
        assert (meta["mean"], meta["channel_order"]) == ([123.675, 116.28, 103.53], "RGB")
        assert (meta["source"], meta["source_layout"], meta["branch"]) == ("epoch_1.pth", "mmsscl", "target")
        assert meta["source_sha256"] == reports[name].source_sha256 != reports[name].sha256
        assert meta["backbone"]["depth"] == 18
        assert meta["layout"] == ("detectron2" if name == "detectron2" else "mmpretrain")
    assert reports["pth"].left_out == ["backbone (120)"]


def test_no_wrapper_hides_a_backbone(state, tmp_path):
    content = {"state_dict": {f"model._orig_mod.module.backbone.{name}": value for name, value in state.items()}}
    report = convert_backbone(save(content, tmp_path / "lightning.ckpt"), tmp_path / "out.pth")
    assert (report.layout, report.left_out) == ("mmpretrain", ["backbone.fc (2)"])
    file = save({"state_dict": under("student.", torch.nn.Linear(2, 2))}, tmp_path / "nothing.pth")
    refused(file, tmp_path, "2 tensors: student.weight", output="none.pth")
