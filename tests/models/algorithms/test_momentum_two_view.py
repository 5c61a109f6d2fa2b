import copy

import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict as mmengine_load
from torch import nn

from mmsscl.errors import InputError
from mmsscl.registry import MODELS

NORM = {"type": "BN"}


def config(kind="SCRL", **options):
    neck = {"type": "RegionNeck" if kind == "SCRL" else "GlobalNeck"}
    return {
        "type": kind,
        "backbone": {"type": "mmpretrain.ResNet", "depth": 18, "out_indices": (3,), "norm_cfg": NORM},
        "neck": {**neck, "in_channels": 512, "hidden_channels": 32, "out_channels": 16, "norm_cfg": NORM},
        "head": {
            "type": "RegionPredictHead", "in_channels": 16, "hidden_channels": 32, "out_channels": 16, "norm_cfg": NORM
        },
        **options,
    }


def batch(images=4, size=64, boxes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(images, 2, boxes, 2, generator=generator) * 30
    return (
        [torch.randn(images, 3, size, size, generator=generator) for _ in range(2)],
        {"boxes": torch.cat([start, start + 32], -1), "valid": torch.rand(images, boxes, generator=generator) < 0.8},
    )


@pytest.fixture(scope="module", params=["SCRL", "BYOL"])
def model(request):
    torch.manual_seed(0)
    model = MODELS.build(config(request.param))
    model.init_weights()
    return model


def target_equals_online(model):
    online = {**model.backbone.state_dict(prefix="backbone."), **model.neck.state_dict(prefix="neck.")}
    target = model.target.state_dict()
    return online.keys() == target.keys() and all(torch.equal(online[key], target[key]) for key in online)


def test_target_starts_as_the_online_copy_without_gradient(model):
    fresh = MODELS.build(config(type(model).__name__))
    fresh.init_weights()
    assert target_equals_online(fresh)
    assert not any(p.requires_grad for p in fresh.target.parameters())
    assert all(p.requires_grad for p in fresh.backbone.parameters())
    shared = {p.data_ptr() for p in fresh.backbone.parameters()} & {p.data_ptr() for p in fresh.target.parameters()}
    assert not shared


def test_checkpoint_keys(model):
    prefixes = {".".join(key.split(".")[:2 if key.startswith("target") else 1]) for key in model.state_dict()}
    assert prefixes == {"backbone", "neck", "head", "target.backbone", "target.neck"}


def test_loss_backward_reaches_all_online_parameters_only(model):
    model.train()
    inputs, pairs = batch()
    out = model(inputs, pairs, mode="loss")
    loss, log = model.parse_losses(out)
    assert 0 <= float(loss) <= 8
    torch.testing.assert_close(loss, out["loss_cosine"])
    assert {"projection_std", "positive_cosine", "boxes_per_image"} < set(log)
    model.zero_grad()
    loss.backward()
    for name, param in model.named_parameters():
        assert (param.grad is None) == name.startswith("target."), name
        if param.grad is not None:
            assert torch.isfinite(param.grad).all()
    model.zero_grad()


def test_loss_equals_a_plain_computation(model):
    """Each view through each network with whole-batch statistics, cosine of each prediction with the other's target."""
    model = copy.deepcopy(model).train()
    with torch.no_grad():
        for param in model.target.parameters():
            param.add_(0.01 * torch.randn_like(param))
    inputs, pairs = batch()
    views = torch.cat(inputs)
    boxes = torch.cat([pairs["boxes"][:, 0], pairs["boxes"][:, 1]])
    reference = copy.deepcopy(model)
    out = model(inputs, pairs, mode="loss")["loss_cosine"]
    prediction = reference.head.predict(reference.neck(reference.backbone(views), boxes))
    target = reference.target["neck"](reference.target["backbone"](views), boxes)
    valid = pairs["valid"] if type(model).__name__ == "SCRL" else torch.ones(4, 1, dtype=torch.bool)
    total = 0.0
    for mine, other in ((slice(0, 4), slice(4, 8)), (slice(4, 8), slice(0, 4))):
        cosine = nn.functional.cosine_similarity(prediction[mine][valid], target[other][valid], dim=-1)
        total = total + (2 - 2 * cosine).mean()
    torch.testing.assert_close(out, total, atol=1e-5, rtol=1e-5)


def test_target_runs_on_batch_statistics_in_training(model):
    model = copy.deepcopy(model).train()
    before = model.target["backbone"].bn1.running_mean.clone()
    model(*batch(), mode="loss")
    assert model.target["backbone"].bn1.training
    assert not torch.equal(model.target["backbone"].bn1.running_mean, before)


def test_update_target_is_the_moving_average_of_parameters_only(model):
    model = copy.deepcopy(model)
    with torch.no_grad():
        for param in [*model.backbone.parameters(), *model.neck.parameters()]:
            param.add_(torch.randn_like(param))
        model.backbone.bn1.running_mean.fill_(5.0)
    before = {name: param.clone() for name, param in model.target.named_parameters()}
    online = dict([*model.backbone.named_parameters("backbone"), *model.neck.named_parameters("neck")])
    model.update_target(0.75)
    assert before.keys() == online.keys()
    for name, param in model.target.named_parameters():
        torch.testing.assert_close(param, 0.75 * before[name] + 0.25 * online[name].detach(), msg=name)
    assert float(model.target["backbone"].bn1.running_mean.max()) < 5.0


def test_modes(model):
    inputs, pairs = batch(images=2)
    model.eval()
    both, one = model(inputs), model(inputs[0])
    assert both[0].shape == (4, 512, 2, 2)
    torch.testing.assert_close(both[0][:2], one[0], atol=1e-5, rtol=1e-4)
    with pytest.raises(InputError, match="predict"):
        model(inputs, pairs, mode="predict")
    with pytest.raises(InputError, match="PackPair"):
        model(inputs, mode="loss")
    with pytest.raises(InputError, match="PackPair"):
        model(inputs[0], pairs, mode="loss")


def test_data_preprocessor_is_found_without_a_default_scope():
    from mmsscl.models.data_preprocessor import PairDataPreprocessor

    model = MODELS.build(config(data_preprocessor={"type": "PairDataPreprocessor"}))
    assert isinstance(model.data_preprocessor, PairDataPreprocessor)


def test_scrl_names_missing_boxes():
    model = MODELS.build(config())
    inputs, pairs = batch(images=2)
    with pytest.raises(InputError, match="SpatialConsistentPair"):
        model(inputs, {"valid": pairs["valid"]}, mode="loss")


def test_existing_weights_reach_online_and_target(tmp_path):
    torch.manual_seed(1)
    donor = MODELS.build(config()["backbone"])
    donor.init_weights()
    path = tmp_path / "backbone.pth"
    torch.save({"state_dict": donor.state_dict()}, path)
    cfg = config()
    cfg["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": str(path)}
    torch.manual_seed(2)
    model = MODELS.build(cfg)
    model.init_weights()
    assert torch.equal(model.backbone.layer4[0].conv1.weight, donor.layer4[0].conv1.weight)
    assert target_equals_online(model)


@pytest.mark.parametrize("load", [lambda model, state: model.load_state_dict(state), mmengine_load])
def test_checkpoint_without_target_fills_it_from_online(model, load):
    state = {key: torch.full_like(value, 3) for key, value in model.state_dict().items() if "target." not in key}
    fresh = MODELS.build(config(type(model).__name__))
    load(fresh, state)
    assert not any("target." in key for key in state), "the caller's dict must be left alone"
    assert target_equals_online(fresh)
    assert float(fresh.target["backbone"].conv1.weight.min()) == 3.0


def test_full_checkpoint_keeps_its_own_target(model):
    state = {
        key: torch.full_like(value, 2 if key.startswith("target.") else 3) for key, value in model.state_dict().items()
    }
    fresh = MODELS.build(config(type(model).__name__))
    fresh.load_state_dict(state)
    assert float(fresh.target["backbone"].conv1.weight.max()) == 2.0


def test_channels_last_changes_layout_not_results():
    torch.manual_seed(0)
    last = MODELS.build(config())
    last.init_weights()
    plain = MODELS.build(config(channels_last=False))
    plain.load_state_dict(last.state_dict())
    assert last.target["backbone"].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert plain.backbone.layer1[0].conv1.weight.is_contiguous()
    inputs, pairs = batch()
    for key, value in plain.train()(inputs, pairs, mode="loss").items():
        torch.testing.assert_close(last.train()(inputs, pairs, mode="loss")[key], value, atol=1e-4, rtol=1e-4)


def test_stride_16_and_other_depths_fit():
    cfg = config()
    cfg["backbone"].update(depth=34, strides=(1, 2, 2, 1))
    cfg["neck"]["stride"] = 16
    model = MODELS.build(cfg).train()
    inputs, pairs = batch(images=2)
    assert model(inputs[0])[0].shape[-2:] == (4, 4)
    assert torch.isfinite(model(inputs, pairs, mode="loss")["loss_cosine"])


def test_compile_wraps_each_part_and_keeps_keys():
    plain = MODELS.build(config())
    compiled = MODELS.build(config(compile={"backend": "eager"}))
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for module in (compiled.backbone, compiled.neck, compiled.head, *compiled.target.values()):
        assert module._compiled_call_impl is not None
    assert compiled._compiled_call_impl is None


def test_pool_neck_and_head_compile_without_graph_breaks():
    neck = MODELS.build(config()["neck"]).train()
    head = MODELS.build(config()["head"]).train()
    features, boxes = torch.randn(2, 512, 2, 2), batch(images=2)[1]["boxes"][:, 0]
    expected = copy.deepcopy(head)(copy.deepcopy(neck)(features, boxes))
    neck.compile(backend="eager", fullgraph=True)
    head.compile(backend="eager", fullgraph=True)
    torch.testing.assert_close(head(neck(features, boxes)), expected)


def test_bfloat16_autocast_loss_is_close_and_float32():
    torch.manual_seed(0)
    model = MODELS.build(config()).train()
    inputs, pairs = batch()
    expected = copy.deepcopy(model)(inputs, pairs, mode="loss")["loss_cosine"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(inputs, pairs, mode="loss")["loss_cosine"]
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(expected), abs=0.1)


def test_short_training_learns_without_collapse():
    """Photos of a few coloured patterns, two noisy views of each: the loss falls and projections stay apart."""
    torch.manual_seed(0)
    cfg = config(backbone={
        "type": "mmpretrain.ResNet", "depth": 18, "stem_channels": 16, "base_channels": 16, "out_indices": (3,),
        "norm_cfg": NORM,
    })
    cfg["neck"]["in_channels"] = 128
    model = MODELS.build(cfg)
    model.init_weights()
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    coarse = torch.nn.functional.interpolate(torch.randn(16, 3, 4, 4), size=64, mode="bilinear")
    boxes = torch.tensor([[0.0, 0.0, 40.0, 40.0], [20.0, 20.0, 64.0, 64.0]]).expand(16, 2, 2, 4)
    pairs = {"boxes": boxes, "valid": torch.ones(16, 2, dtype=torch.bool)}
    history = []
    for _ in range(30):
        views = [coarse + 0.1 * torch.randn_like(coarse) for _ in range(2)]
        out = model(views, pairs, mode="loss")
        optimizer.zero_grad()
        out["loss_cosine"].backward()
        optimizer.step()
        model.update_target(0.98)
        history.append({key: float(value) for key, value in out.items()})
    assert history[-1]["loss_cosine"] < 0.6 * history[0]["loss_cosine"]
    assert min(entry["projection_std"] for entry in history) > 0.2
