"""A converted ResNet gives the source's features, in whichever library it ends."""

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision

from mmsscl.errors import InputError
from mmsscl.registry import MODELS
from mmsscl.zoo.convert import convert_backbone
from mmsscl.zoo.layouts import find_backbone
from mmsscl.zoo.read_backbone import read_backbone
from mmsscl.zoo.safe_load import load_checkpoint
from tests.sample_backbones import children, image, resnet, resnet_stages, save, stages, under


def built(file, depth, **config):
    """mmpretrain's ResNet, filled strictly."""
    network = MODELS.build(dict(type="mmpretrain.ResNet", depth=depth, out_indices=(0, 1, 2, 3), **config))
    network.load_state_dict(torch.load(file, weights_only=True)["state_dict"], strict=True)
    # it returns nothing
    network.eval()
    return network


def assert_same(found, wanted):
    assert len(found) == len(wanted) == 4
    for one, other in zip(found, wanted):
        assert one.std() > 0.01
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("depth", [18, 50, 101])
def test_torchvision_there_and_back(tmp_path, depth):
    source = resnet(depth)
    report = convert_backbone(save(source.state_dict(), tmp_path / "tv.pth"), tmp_path / "mm.pth")
    assert (report.layout, report.architecture, report.left_out) == ("torchvision", f"ResNet-{depth}", ["fc (2)"])
    assert report.matched == report.keys == len(source.state_dict()) - 2
    wanted = resnet_stages(depth)
    assert_same(built(report.path, depth)(image()), wanted)

    back = convert_backbone(report.path, tmp_path / "back.pth", to="torchvision")
    other = getattr(torchvision.models, f"resnet{depth}")(weights=None)
    other.fc = torch.nn.Identity()
    other.load_state_dict(torch.load(back.path, weights_only=True)["state_dict"], strict=True)
    assert_same(stages(other.eval(), image()), wanted)


@torch.no_grad()
@pytest.mark.parametrize("depth", [18, 50, 101])
def test_timm_there_and_back(tmp_path, depth):
    # a timm ResNet's names are torchvision's
    report = convert_backbone(save(resnet(depth).state_dict(), tmp_path / "timm.pth"), tmp_path / "mm.pth", layout="timm")
    back = convert_backbone(report.path, tmp_path / "back.safetensors", to="timm")
    # timm's own reader, strict
    other = timm.create_model(f"resnet{depth}", num_classes=0, checkpoint_path=back.path).eval()
    found = other.forward_intermediates(image(), indices=[1, 2, 3, 4], intermediates_only=True)
    assert_same(found, resnet_stages(depth))


def detectron2_forward(state, pixels, depth, stride_in_1x1=False):
    """A forward pass over detectron2's names, as its BasicStem, BasicBlock and BottleneckBlock are documented."""

    def conv(name, maps, stride=1):
        weight = state[f"{name}.weight"]
        norm = [state[f"{name}.norm.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        used.update([f"{name}.weight", *(f"{name}.norm.{key}" for key in ("running_mean", "running_var", "weight", "bias"))])
        return F.batch_norm(F.conv2d(maps, weight, stride=stride, padding=weight.shape[-1] // 2), *norm)

    used: set[str] = set()
    maps = F.max_pool2d(conv("stem.conv1", pixels, 2).relu(), 3, 2, 1)
    found = []
    counts = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth]
    for stage, count in enumerate(counts):
        for index in range(count):
            block, stride = f"res{stage + 2}.{index}", 2 if stage and not index else 1
            if depth == 18:
                inner = conv(f"{block}.conv2", conv(f"{block}.conv1", maps, stride).relu())
            else:
                first, second = (stride, 1) if stride_in_1x1 else (1, stride)
                inner = conv(f"{block}.conv2", conv(f"{block}.conv1", maps, first).relu(), second)
                inner = conv(f"{block}.conv3", inner.relu())
            # only where the number of channels changes
            shortcut = conv(f"{block}.shortcut", maps, stride) if inner.shape[1] != maps.shape[1] else maps
            maps = (inner + shortcut).relu()
        found.append(maps)
    assert used == {name for name in state if not name.endswith("num_batches_tracked")}, "tensors that detectron2 has not"
    return found


@torch.no_grad()
@pytest.mark.parametrize("depth", [18, 50])
def test_detectron2_there_and_back(tmp_path, depth):
    source = resnet(depth)
    report = convert_backbone(save(source.state_dict(), tmp_path / "tv.pth"), tmp_path / "d2.pth", to="detectron2")
    content = torch.load(report.path, weights_only=True)
    assert (content["__author__"], content["matching_heuristics"]) == ("mmsscl", True)
    assert content["meta"]["channel_order"] == "RGB"
    wanted = resnet_stages(depth)
    assert_same(detectron2_forward(content["model"], image(), depth), wanted)
    settings = " ".join(report.settings)
    assert f"DEPTH {depth}, MODEL.RESNETS.STRIDE_IN_1X1 False" in settings
    assert "PIXEL_MEAN [123.675, 116.28, 103.53]" in settings
    assert "INPUT.FORMAT RGB" in settings
    assert ("RES2_OUT_CHANNELS 64" in settings) == (depth == 18)
    if depth == 50:
        differing = detectron2_forward(content["model"], image(), depth, stride_in_1x1=True)[-1]
        assert not torch.allclose(differing, wanted[-1], atol=0.01), "the setting would not matter"

    back = convert_backbone(report.path, tmp_path / "back.pth")
    assert_same(built(back.path, depth)(image()), wanted)
    # without meta, inside a detector, as detectron2 saves it
    detector = {f"backbone.bottom_up.{name}": value for name, value in content["model"].items()}
    detector = save({"model": {**detector, "proposal_generator.x": torch.ones(1)}, "iteration": 9}, tmp_path / "final.pth")
    numbers = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], channel_order="RGB")
    again = convert_backbone(detector, tmp_path / "again.pth", **numbers)
    assert (again.layout, again.left_out) == ("detectron2", ["proposal_generator (1)"])
    assert_same(built(again.path, depth)(image()), wanted)


@torch.no_grad()
def test_caffe_style_strides_in_the_first_convolution(tmp_path):
    source = resnet(50)
    tensors = convert_backbone(save(source.state_dict(), tmp_path / "tv.pth"), tmp_path / "d2.pth", to="detectron2")
    model = torch.load(tensors.path, weights_only=True)["model"]
    file = save({"model": model, "__author__": "MSRA"}, tmp_path / "R-50.pth")
    numbers = dict(mean=[103.53, 116.28, 123.675], std=[1, 1, 1], channel_order="BGR", pixel_range=255)
    report = convert_backbone(file, tmp_path / "caffe.pth", **numbers)
    assert "model.backbone: style='caffe'" in report.settings
    wanted = detectron2_forward(model, image(), 50, stride_in_1x1=True)
    assert_same(built(report.path, 50, style="caffe")(image()), wanted)


LAYOUTS = {
    "moco": lambda online, target: {
        "state_dict": {**under("module.encoder_q.", online), **under("module.encoder_k.", target),
                       "module.queue": torch.ones(2, 2)}, "arch": "resnet18"},
    "moco-v3": lambda online, target: {
        "state_dict": {**under("module.base_encoder.", online), **under("module.momentum_encoder.", target)}},
    "scrl": lambda online, target: {
        "online_network_state_dict": {**under("encoder.", children(online)), "projector.net.0.weight": torch.ones(2, 2)},
        "target_network_state_dict": under("encoder.", children(target)),
        "optimizer_state_dict": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": []}},
    "pytorch-byol": lambda online, target: {
        "online_network_state_dict": {**under("encoder.", children(online)), "projetion.net.0.weight": torch.ones(2, 2)},
        "target_network_state_dict": under("encoder.", children(target))},
    "byol-pytorch": lambda online, target: {
        **under("online_encoder.net.", online), **under("target_encoder.net.", target), **under("net.", online)},
    "byol": lambda online, target: {
        "model": {**under("online_network.encoder.", online), **under("target_network.encoder.", target)}},
    "simsiam": lambda online, target: {"state_dict": under("module.encoder.", online)},
    "mmpretrain": lambda online, target: {
        "state_dict": {**under("backbone.", online), **under("target_net.module.0.", target), "neck.x": torch.ones(1)},
        "meta": {"epoch": 3}},
    "mmsscl": lambda online, target: {
        "state_dict": {**under("backbone.", online), **under("target.backbone.", target)}},
}  # fmt: skip


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_layouts_are_recognised_and_both_branches_found(tmp_path, layout):
    online, target = resnet(18, seed=1), resnet(18, seed=2)
    file = save(LAYOUTS[layout](online, target), tmp_path / "foreign.pth.tar")
    numbers = dict(mean=[0.5] * 3, std=[0.25] * 3, channel_order="RGB") if layout == "byol" else {}
    report = convert_backbone(file, tmp_path / "online.pth", **numbers)
    assert (report.layout, report.branch, report.architecture) == (layout, "online", "ResNet-18")
    stored = read_backbone(report.path)
    assert (stored.branch, stored.exported, stored.config["depth"]) == ("online", True, 18)
    assert_of(stored.state, online)
    content = load_checkpoint(file)
    if layout == "simsiam":
        with pytest.raises(InputError, match="holds no target network"):
            find_backbone(content, file, None, "target")
        return
    for name in (layout, None):
        found = find_backbone(content, file, name, "target")
        assert found.layout.name == layout
        assert_of(found.state, target)


def assert_of(state, network):
    wanted = network.state_dict()
    assert state.keys() == {name for name in wanted if not name.startswith("fc.")}
    assert all(torch.equal(value, wanted[name]) for name, value in state.items())


def test_a_scrl_file_without_projector_or_target(tmp_path):
    content = {"online_network_state_dict": under("module.encoder.", children(resnet(18)))}
    report = convert_backbone(save(content, tmp_path / "scrl_200ep.pth"), tmp_path / "backbone.pth")
    assert (report.layout, report.architecture, report.keys, report.left_out) == ("scrl", "ResNet-18", 120, [])


def test_old_files_that_count_no_batches(tmp_path):
    state = {name: value for name, value in resnet(18).state_dict().items() if not name.endswith("num_batches_tracked")}
    report = convert_backbone(save(state, tmp_path / "resnet18-5c106cde.pth"), tmp_path / "backbone.pth")
    assert (report.matched, report.keys) == (100, 120)
    assert "20 num_batches_tracked are not in the file: written as 0" in report.remarks
