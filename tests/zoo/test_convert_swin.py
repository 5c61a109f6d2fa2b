"""A converted Swin Transformer gives the source's features: tensors are reordered, not only renamed."""

import logging
import re
from types import SimpleNamespace

import pytest
import timm
import torch
import torchvision
from mmengine.model import BaseModel

from mmsscl.engine.hooks import BackboneWeightsHook
from mmsscl.errors import InputError
from mmsscl.zoo import swin_keys
from mmsscl.zoo.convert import convert_backbone
from mmsscl.zoo.read_backbone import build_backbone, read_backbone
from tests.sample_backbones import image, randomised, save, shapes
from tests.sample_runs import ROOT


class Holder(BaseModel):
    """A model that has mmdet's preprocessor, and is given a backbone."""

    def forward(self, inputs):
        return self.backbone(inputs)


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(0)
    return randomised(torchvision.models.swin_t(weights=None))


@pytest.fixture(scope="module")
def converted(source, tmp_path_factory):
    """mmpretrain's file, and the source's last feature map."""
    folder = tmp_path_factory.mktemp("swin")
    report = convert_backbone(save(source.state_dict(), folder / "swin_t.pth"), folder / "mm.pth", to="mmpretrain")
    assert (report.layout, report.architecture, report.left_out) == ("torchvision", "SwinTransformer-tiny", ["head (2)"])
    with torch.no_grad():
        wanted = source.permute(source.norm(source.features(image(224))))
    assert wanted.std() > 0.1
    return report.path, wanted


def assert_close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


@torch.no_grad()
def test_torchvision_there_and_back(source, converted, tmp_path):
    path, wanted = converted
    assert_close(build_and_fill(path)(image(224))[-1], wanted)

    back = convert_backbone(path, tmp_path / "back.pth", to="torchvision")
    state = torch.load(back.path, weights_only=True)["state_dict"]
    original = source.state_dict()
    assert state.keys() == original.keys() - {"head.weight", "head.bias"}
    assert all(torch.equal(value, original[name]) for name, value in state.items())


def build_and_fill(path):
    stored = read_backbone(path)
    network = build_backbone(stored)
    network.load_state_dict(stored.state, strict=True)
    network.eval()
    return network


@torch.no_grad()
def test_timm_there_and_back(converted, tmp_path):
    path, wanted = converted
    report = convert_backbone(path, tmp_path / "timm.pth", to="timm")
    other = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0)
    other.load_state_dict(torch.load(report.path, weights_only=True)["state_dict"], strict=True)
    assert_close(other.eval().forward_features(image(224)).permute(0, 3, 1, 2), wanted)

    torch.manual_seed(5)
    theirs = randomised(timm.create_model("swin_tiny_patch4_window7_224"), seed=5)
    again = convert_backbone(save(theirs.state_dict(), tmp_path / "theirs.pth"), tmp_path / "ours.pth", to="mmpretrain")
    assert (again.layout, again.left_out) == ("timm", ["head (2)"])
    assert_close(build_and_fill(again.path)(image(224))[-1], theirs.forward_features(image(224)).permute(0, 3, 1, 2))


def test_microsofts_files_merge_at_the_end_of_a_stage(converted, tmp_path):
    path, _ = converted
    theirs = {}
    for name, value in torch.load(convert_backbone(path, tmp_path / "timm.pth", to="timm").path)["state_dict"].items():
        if ".downsample." in name:
            name = name.replace(name[:8], f"layers.{int(name[7]) - 1}", 1)
        theirs[name] = value
    file = save({"model": {**theirs, "head.weight": torch.ones(2, 768)}}, tmp_path / "swin_tiny_patch4_window7_224.pth")
    back = convert_backbone(file, tmp_path / "back.pth", to="mmpretrain")
    wanted = torch.load(path, weights_only=True)["state_dict"]
    found = torch.load(back.path, weights_only=True)["state_dict"]
    assert found.keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())


@pytest.mark.parametrize("target", ["timm", "torchvision"])
def test_norms_between_stages_are_left_out_and_the_file_can_be_read_again(tmp_path, target):
    state = swin_keys.from_torchvision(shapes(lambda: torchvision.models.swin_t(weights=None)))
    norms = {f"norm{stage}.{name}": torch.ones(96 * 2**stage) for stage in range(3) for name in ("weight", "bias")}
    file = save({**state, **norms}, tmp_path / "four.pth")
    report = convert_backbone(file, tmp_path / "out.pth", to=target)
    assert f"{target} has no norm after stages before the last: left out norm0.weight" in report.remarks[-1]
    again = convert_backbone(report.path, tmp_path / "again.pth")
    assert (again.layout, again.matched) == (target, again.keys)
    assert "allow_missing" in " ".join(again.remarks)
    assert "allow_missing" not in " ".join(convert_backbone(file, tmp_path / "mmdet.pth").remarks)


@torch.no_grad()
def test_mmdet_takes_it_up(converted, tmp_path):
    path, wanted = converted
    report = convert_backbone(path, tmp_path / "mmdet.pth")
    assert "allow_missing" in " ".join(report.remarks)
    from mmdet.models import SwinTransformer
    from mmengine.config import ConfigDict

    init = ConfigDict(type="Pretrained", checkpoint=report.path)
    network = SwinTransformer(convert_weights=False, out_indices=(3,), init_cfg=init)
    network.init_weights()
    network.eval()
    found = network(image(224))[-1]
    stored = read_backbone(report.path).state
    own = network.state_dict()
    assert own.keys() == stored.keys()
    assert all(torch.equal(own[name], value) for name, value in stored.items())
    numbers = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
    holder = Holder(data_preprocessor=dict(type="ImgDataPreprocessor", bgr_to_rgb=True, **numbers))
    holder.backbone = network
    runner = SimpleNamespace(model=holder, iter=0, _load_from=None, logger=logging.getLogger("swin"))
    BackboneWeightsHook().before_train(runner)
    torch.nn.init.zeros_(network.norm3.bias)
    with pytest.raises(InputError, match=r"with other values than the file: norm3\.bias"):
        BackboneWeightsHook().before_train(runner)
    network.norm3.bias.copy_(stored["norm3.bias"])
    # as docs/convert.md has it: all four stages, three of whose norms start anew
    holder.backbone = SwinTransformer(convert_weights=False, init_cfg=init)
    holder.backbone.init_weights()
    with pytest.raises(InputError, match=r"6 missing in the file: norm0\.weight"):
        BackboneWeightsHook().before_train(runner)
    (recipe,) = re.findall(r"allow_missing=\[r\"(.*?)\"\]", (ROOT / "docs/convert.md").read_text())
    BackboneWeightsHook(allow_missing=[recipe]).before_train(runner)
    # mmdet shifts windows on a map of one window too; on larger maps it computes the same
    larger = image(448)
    assert found.shape == wanted.shape
    assert_close(network(larger)[-1], build_and_fill(path)(larger)[-1])
