"""What cannot be converted is refused by name, and nothing is written."""

import os
import sys

import pytest
import timm
import torch
import torchvision

from mmsscl.errors import InputError
from mmsscl.registry import MODELS
from mmsscl.zoo import safetensors_file, swin_keys
from mmsscl.zoo.convert import convert_backbone
from mmsscl.zoo.safe_load import load_checkpoint
from tests.sample_backbones import save, shapes, under
from tests.sample_runs import write_checkpoint


@pytest.fixture(scope="module")
def state():
    return shapes(lambda: torchvision.models.resnet18(weights=None))


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


def test_malformed_safetensors(tmp_path):
    content = safetensors_file.to_bytes({f"layer{index}.weight": torch.ones(100) for index in range(20)}, {"arch": "ResNet"})
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
    refused(save(shapes(network), tmp_path / "other.pth"), tmp_path, f"(?s){message}")


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


NUMBERS = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], channel_order="RGB")
PREPROCESSOR = "data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)\n"


def mmpretrain_run(state, **backbone):
    """As mmpretrain's runner saves it."""
    config = f"default_scope = 'mmpretrain'\nmodel = dict(type='ImageClassifier', backbone={backbone!r})\n{PREPROCESSOR}"
    return {"state_dict": {f"backbone.{name}": value for name, value in state.items()}, "meta": {"cfg": config}}


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("resnet", "meta.backbone is no config of a backbone .'resnet'."),
        (dict(depth=18), "meta.backbone is no config of a backbone"),
        (dict(type="Nope", depth=18), "its backbone Nope cannot be built"),
        (dict(type="mmpretrain.ResNet", depth=17), "its backbone mmpretrain.ResNet cannot be built"),
    ],
)
def test_a_config_that_describes_no_backbone(state, tmp_path, backbone, message):
    plain = {name: value for name, value in state.items() if not name.startswith("fc.")}
    file = save({"state_dict": plain, "meta": {**NUMBERS, "backbone": backbone}}, tmp_path / "in.pth")
    refused(file, tmp_path, message)


@pytest.mark.parametrize("wrong", [dict(type="ResNetNope"), dict(out_indices=(0, 1, 2, 9))])
def test_a_training_config_that_cannot_be_built(state, tmp_path, wrong):
    file = save(mmpretrain_run(state, **(dict(type="ResNet", depth=18) | wrong)), tmp_path / "in.pth")
    refused(file, tmp_path, "cannot be built")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layers.1.downsample.reduction.weight", torch.zeros(4, 4, 3, 3)),
        ("patch_embed.proj.weight", torch.tensor(1.0)),
        ("layers.0.blocks.0.attn.relative_position_bias_table", torch.tensor(1.0)),
    ],
)
def test_swin_tensors_of_odd_shapes(tmp_path, swin, name, value):
    assert name in swin
    refused(save({**swin, name: value}, tmp_path / "in.pth"), tmp_path, "of another shape|of 0 channels")


@pytest.fixture(scope="module")
def swin():
    """timm's names and shapes, without numbers of their own."""
    state = shapes(lambda: torchvision.models.swin_t(weights=None))
    return swin_keys.to_timm(swin_keys.from_torchvision({key: value for key, value in state.items() if "head" not in key}))


def test_a_swin_without_its_last_norm_is_told_as_such(tmp_path, swin):
    online = {f"encoder.{name}": value for name, value in swin.items() if not name.startswith("norm.")}
    file = save({"online_network_state_dict": online}, tmp_path / "scrl.pth")
    refused(file, tmp_path, r"missing in the file: norm3\.weight.*without its last norm, as kakaobrain/scrl trains")


def test_a_damaged_export_is_not_called_exported_already(plain, tmp_path):
    content = torch.load(convert_backbone(plain, tmp_path / "whole.pth").path, weights_only=True)
    del content["state_dict"]["conv1.weight"]
    refused(save(content, tmp_path / "in.pth"), tmp_path, r"1 missing in the file: conv1\.weight")


def test_what_an_export_says_of_itself_holds_whatever_its_user_says(state, tmp_path):
    plain = {name: value for name, value in state.items() if not name.startswith("fc.")}
    backbone = dict(type="mmpretrain.ResNet", depth=18, strides=(1, 2, 2, 1))
    file = save({"state_dict": plain, "meta": {**NUMBERS, "backbone": backbone, "layout": "mmdet"}}, tmp_path / "in.pth")
    refused(file, tmp_path, "is a file of mmsscl export for mmdet, not of the layout torchvision", layout="torchvision")
    for layout in ("mmdet", "mmsscl", None):
        report = convert_backbone(file, tmp_path / "out.pth", to="torchvision", layout=layout)
        assert "trained with strides=(1, 2, 2, 1)" in report.remarks[0]


@pytest.mark.parametrize("target", ["torchvision", "timm", "detectron2"])
@pytest.mark.parametrize("changes", [dict(norm_cfg=dict(type="GN", num_groups=32)), dict(avg_down=True)])
def test_a_resnet_with_other_tensors_is_for_mmdet_alone(tmp_path, target, changes):
    config = dict(type="ResNet", depth=18, **changes)
    network = MODELS.build(dict(config, type="mmpretrain.ResNet"))
    file = save(mmpretrain_run(network.state_dict(), **config), tmp_path / "in.pth")
    refused(file, tmp_path, f"--to {target}: its ResNet-18 has other tensors", to=target)
    report = convert_backbone(file, tmp_path / "mmpretrain.pth", to="mmpretrain")
    assert (report.layout, report.about) == ("mmpretrain", "a training checkpoint of mmpretrain")


def test_settings_that_tensors_do_not_show_come_from_the_foreign_config(state, tmp_path):
    model = "model = dict(backbone=dict(type='ResNet', depth=18, strides=(1, 2, 2, 1)))"
    text = f"default_scope = 'mmdet'\n{model}\n{PREPROCESSOR}"
    content = {"state_dict": {f"backbone.{name}": value for name, value in state.items()}, "meta": {"cfg": text}}
    report = convert_backbone(save(content, tmp_path / "in.pth"), tmp_path / "out.pth", to="timm")
    assert "trained with strides=(1, 2, 2, 1): without the same in timm" in report.remarks[0]
    assert load_checkpoint(report.path)["meta"]["backbone"]["strides"] == (1, 2, 2, 1)


def test_a_network_that_mmdet_may_not_have_is_remarked_on(tmp_path):
    network = shapes(lambda: MODELS.build(dict(type="mmpretrain.VisionTransformer", arch="deit-tiny")))
    file = save(mmpretrain_run(network, type="VisionTransformer", arch="deit-tiny"), tmp_path / "in.pth")
    report = convert_backbone(file, tmp_path / "out.pth")
    assert "mmdet's own VisionTransformer, if it has one, may name its tensors otherwise" in report.remarks[0]
