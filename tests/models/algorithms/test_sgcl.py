"""SGCL: strength 0 is BYOL and SCRL to the bit; its weights; a contrastive base without a leak."""
import copy

import pytest
import torch
import torch.nn.functional as functional
from torch import nn

from mmsscl.engine.optimizers import LARS
from mmsscl.errors import InputError
from mmsscl.registry import MODELS
from mmsscl.saliency.weights import crop_weights, effective_sample_size

NORM = {"type": "BN"}
# A quarter of ResNet-18's width: quick, and all its parts.
BACKBONE = {
    "type": "mmpretrain.ResNet", "depth": 18, "stem_channels": 16, "base_channels": 16, "out_indices": (3,),
    "norm_cfg": NORM,
}
NECKS = {"global": "GlobalNeck", "boxes": "RegionNeck", "both": "GlobalRegionNeck"}
IMAGES, BOXES, LOCAL = 4, 3, 2


def predict_head(kind="WeightedPredictHead"):
    return {"type": kind, "in_channels": 8, "hidden_channels": 16, "out_channels": 8, "norm_cfg": NORM}


def contrastive_head(queue_size=16):
    return {"type": "WeightedContrastiveHead", "channels": 8, "queue_size": queue_size}


def config(form, kind="SGCL", **options):
    neck = {"type": NECKS[form], "in_channels": 128, "hidden_channels": 16, "out_channels": 8, "norm_cfg": NORM}
    if kind != "SGCL":
        return {"type": kind, "backbone": BACKBONE, "neck": neck, "head": predict_head("RegionPredictHead")}
    if form == "both":
        options = {"region_head": predict_head(), **options}
    return {"type": kind, "backbone": BACKBONE, "neck": neck, "head": predict_head(), "regions": form, **options}


def build(*args, **options):
    torch.manual_seed(0)
    model = MODELS.build(config(*args, **options))
    # mmengine's init_weights logs every parameter; the same order, without the log.
    model.backbone.init_weights()
    model.copy_online_to_target()
    return model.train()


def batch(seed=0, guidance=1.0, size=64):
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(IMAGES, 2, BOXES, 2, generator=generator) * 30
    valid = torch.rand(IMAGES, BOXES, generator=generator) < 0.8
    valid[1] = False
    return [torch.randn(IMAGES, 3, size, size, generator=generator) for _ in range(2)], {
        "boxes": torch.cat([start, start + 32], -1),
        "valid": valid,
        "view_scores": torch.rand(IMAGES, 2, generator=generator),
        "box_scores": torch.rand(IMAGES, BOXES, generator=generator),
        "guidance": torch.full((IMAGES,), guidance),
        "local_views": torch.randn(IMAGES, LOCAL, 3, 32, 32, generator=generator),
        "local_scores": torch.rand(IMAGES, LOCAL, generator=generator),
    }


def train(model, steps, guidance, autocast=False):
    optimizer = LARS(model.parameters(), lr=0.2, momentum=0.9, weight_decay=1e-4)
    losses = []
    for step in range(steps):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            out = model(*batch(step, guidance), mode="loss")
        loss, _ = model.parse_losses(out)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.update_target(0.9)
        losses.append(loss.detach())
    return losses


def furthest(mine, other):
    return max(float((mine[name].float() - value.float()).abs().max()) for name, value in other.items())


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(("regions", "plain"), [("global", "BYOL"), ("boxes", "SCRL")])
def test_strength_zero_equals_the_plain_method_bit_for_bit(regions, plain, autocast):
    models = [build(regions, kind) for kind in (plain, "SGCL")]
    losses = [train(model, 4, 0.0, autocast) for model in models]
    assert torch.equal(torch.stack(losses[0]), torch.stack(losses[1]))
    expected, mine = (model.state_dict() for model in models)
    assert mine.keys() == expected.keys()
    assert all(torch.equal(mine[name], value) for name, value in expected.items())


def test_full_strength_trains_another_way():
    """The equality above can fail."""
    scrl, sgcl = build("boxes", "SCRL"), build("boxes")
    train(scrl, 2, 1.0), train(sgcl, 2, 1.0)
    assert furthest(sgcl.state_dict(), scrl.state_dict()) > 1e-4


def test_a_single_pair_an_image_trains_the_same_at_full_strength():
    byol, sgcl = build("global", "BYOL"), build("global")
    assert torch.equal(torch.stack(train(byol, 2, 1.0)), torch.stack(train(sgcl, 2, 1.0)))
    assert furthest(sgcl.state_dict(), byol.state_dict()) == 0.0


@pytest.mark.parametrize("regions", ["global", "both"])
def test_extra_heads_change_no_other_initial_weight_nor_the_random_state(regions):
    torch.manual_seed(0)
    plain = MODELS.build(config("boxes" if regions == "both" else regions, "SCRL" if regions == "both" else "BYOL"))
    after_plain = torch.get_rng_state()
    torch.manual_seed(0)
    sgcl = MODELS.build(config(regions, local_head=predict_head()))
    assert torch.equal(torch.get_rng_state(), after_plain)
    state = sgcl.state_dict()
    for name, value in plain.state_dict().items():
        assert torch.equal(state[name], value), name
    extra = {name.split(".")[0] for name in state if name not in plain.state_dict()}
    assert extra == {"local_head"} | ({"region_head"} if regions == "both" else set())
    assert not torch.equal(sgcl.local_head.predictor.linear1.weight, sgcl.head.predictor.linear1.weight)


def cosine_distance(prediction, target):
    return 2 - 2 * functional.cosine_similarity(prediction, target, dim=-1)


def reference_terms(model, inputs, pairs, view_weights, box_weights):
    """Every term by hand: one network call a crop kind, plain sums over images and pairs."""
    model = copy.deepcopy(model)
    views = torch.cat(inputs)
    boxes = torch.cat([pairs["boxes"][:, 0], pairs["boxes"][:, 1]])
    with torch.no_grad():
        target = model.target["neck"](model.target["backbone"](views), boxes)
    online = model.neck(model.backbone(views), boxes)
    whole = model.head(online[:, :1])[:, 0].chunk(2)
    regions = model.region_head(online[:, 1:]).chunk(2)
    small = model.backbone(pairs["local_views"].flatten(0, 1))
    local = model.local_head(model.neck(small).reshape(IMAGES, LOCAL, 8))
    target1, target2 = target.chunk(2)
    terms = {"loss_global": 0.0, "loss_region": 0.0, "loss_local": 0.0}
    for image in range(IMAGES):
        w = view_weights[image]
        both = cosine_distance(whole[0][image], target2[image, 0]) + cosine_distance(whole[1][image], target1[image, 0])
        terms["loss_global"] += w[0] * both / IMAGES
        for crop in range(LOCAL):
            first = w[1 + crop] * cosine_distance(local[image, crop], target1[image, 0])
            second = w[1 + LOCAL + crop] * cosine_distance(local[image, crop], target2[image, 0])
            terms["loss_local"] += (first + second) / (IMAGES * LOCAL)
        for box in range(BOXES):
            if pairs["valid"][image, box]:
                both = cosine_distance(regions[0][image, box], target2[image, 1 + box])
                both = both + cosine_distance(regions[1][image, box], target1[image, 1 + box])
                terms["loss_region"] += box_weights[image, box] * both / pairs["valid"].sum()
    return terms


def test_terms_and_weights_equal_a_computation_by_hand():
    model = build("both", local_head=predict_head(), local_weight=0.5, region_weight=2.0)
    with torch.no_grad():
        for param in model.target.parameters():
            param.mul_(1 + 0.1 * torch.randn_like(param))
    inputs, pairs = batch(guidance=0.8)
    first, second = pairs["view_scores"].unbind(1)
    scores = [(first * second).sqrt()]
    scores += [(pairs["local_scores"][:, crop] * first).sqrt() for crop in range(LOCAL)]
    scores += [(pairs["local_scores"][:, crop] * second).sqrt() for crop in range(LOCAL)]
    everything = torch.ones(IMAGES, 1 + 2 * LOCAL, dtype=torch.bool)
    view_weights = crop_weights(torch.stack(scores, 1), everything, pairs["guidance"])
    box_weights = crop_weights(pairs["box_scores"], pairs["valid"], pairs["guidance"])
    torch.testing.assert_close(view_weights.mean(1), torch.ones(IMAGES))
    assert (view_weights - 1).abs().max() > 0.1
    expected = reference_terms(model, inputs, pairs, view_weights, box_weights)
    out = model(inputs, pairs, mode="loss")
    assert {name for name in out if "loss" in name} == set(expected)
    torch.testing.assert_close(out["loss_global"], expected["loss_global"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out["loss_region"], 2.0 * expected["loss_region"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out["loss_local"], 0.5 * expected["loss_local"], atol=1e-5, rtol=1e-5)
    assert float(out["saliency_guidance"]) == pytest.approx(0.8)
    weights = torch.cat([view_weights, box_weights], 1)
    size = effective_sample_size(weights, torch.cat([everything, pairs["valid"]], 1))
    torch.testing.assert_close(out["effective_sample_size"], size)
    assert 0 < float(size) < 1
    assert float(out["boxes_per_image"]) == pytest.approx(float(pairs["valid"].sum()) / IMAGES)


def test_every_online_weight_learns_and_figures_carry_no_gradient():
    model = build("both", local_head=predict_head())
    out = model(*batch(), mode="loss")
    model.parse_losses(out)[0].backward()
    for name, param in model.named_parameters():
        assert (param.grad is None) == name.startswith("target."), name
        assert param.grad is None or torch.isfinite(param.grad).all(), name
    # Residual branches start at zero, so some of the backbone's gradients are zero at first.
    heads = [model.head, model.region_head, model.local_head]
    for part in (model.backbone.conv1, model.neck.projector, *(head.predictor for head in heads)):
        for name, param in part.named_parameters():
            assert param.grad.any() or name.endswith("bias"), name
    figures = {name: value for name, value in out.items() if "loss" not in name}
    assert {"positive_cosine", "projection_std", "boxes_per_image", "region_positive_cosine", "region_projection_std",
            "local_positive_cosine", "effective_sample_size", "saliency_guidance"} <= set(figures)  # fmt: skip
    assert all(value.ndim == 0 and not value.requires_grad for value in figures.values())


def test_weigh_off_and_images_without_guidance_count_alike():
    model = build("both", local_head=predict_head(), weigh=False)
    inputs, pairs = batch()
    unguided = {**pairs, "guidance": torch.zeros(IMAGES)}
    weighed = copy.deepcopy(model)
    weighed.weigh = True
    out = copy.deepcopy(model)(inputs, pairs, mode="loss")
    same = copy.deepcopy(weighed)(inputs, unguided, mode="loss")
    other = copy.deepcopy(weighed)(inputs, pairs, mode="loss")
    for name in ("loss_global", "loss_region", "loss_local"):
        assert torch.equal(out[name], same[name]), name
        assert not torch.equal(out[name], other[name]), name
    assert float(same["effective_sample_size"]) == 1.0
    assert "effective_sample_size" not in out
    scoreless = {key: value for key, value in pairs.items() if "score" not in key and key != "guidance"}
    torch.testing.assert_close(model(inputs, scoreless, mode="loss")["loss_local"], out["loss_local"])


def test_batch_weights_let_images_count_differently():
    model = build("global", batch_weights=True)
    inputs, pairs = batch()
    pairs["view_scores"][0] = 0.0
    reference = copy.deepcopy(model)
    target = reference.target["neck"](reference.target["backbone"](torch.cat(inputs)))[:, 0].chunk(2)
    online = reference.head(reference.neck(reference.backbone(torch.cat(inputs))))[:, 0].chunk(2)
    scores = pairs["view_scores"].prod(1).sqrt()
    weights = (scores / scores.mean()).clamp(0.25, 4.0)
    weights = weights / weights.mean()
    expected = weights * (cosine_distance(online[0], target[1]) + cosine_distance(online[1], target[0]))
    out = copy.deepcopy(model)(inputs, pairs, mode="loss")
    torch.testing.assert_close(out["loss_global"], expected.mean(), atol=1e-5, rtol=1e-5)
    assert float(weights[0]) < 0.5
    share = weights.sum() ** 2 / (IMAGES * weights.square().sum())
    assert share < 0.95
    torch.testing.assert_close(out["effective_sample_size"], share)
    pairs["guidance"] = torch.zeros(IMAGES)
    unguided = model(inputs, pairs, mode="loss")["loss_global"]
    assert torch.equal(unguided, build("global")(inputs, pairs, mode="loss")["loss_global"])


def test_scores_get_no_gradient():
    model = build("both", local_head=predict_head())
    inputs, pairs = batch()
    for key in ("view_scores", "box_scores", "local_scores", "guidance"):
        pairs[key].requires_grad_()
    model.parse_losses(model(inputs, pairs, mode="loss"))[0].backward()
    assert all(pairs[key].grad is None for key in ("view_scores", "box_scores", "local_scores", "guidance"))


@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_all_zero_scores_and_no_valid_box_stay_finite(guidance):
    model = build("both", local_head=predict_head())
    inputs, pairs = batch(guidance=guidance)
    for key in ("view_scores", "box_scores", "local_scores"):
        pairs[key].zero_()
    pairs["valid"].zero_()
    loss, log = model.parse_losses(model(inputs, pairs, mode="loss"))
    loss.backward()
    assert all(torch.isfinite(value).all() for value in log.values())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert float(log["loss_region"].detach()) == 0.0


# -- the contrastive base ---------------------------------------------------------------------------------------------


def contrastive(**options):
    return build("global", head=contrastive_head(), local_head=contrastive_head(), target_norm="average", **options)


def test_a_key_does_not_depend_on_the_batch_while_with_batch_norms_it_would():
    inputs, pairs = batch()
    for model, leaks in ((contrastive(), False), (build("global"), True)):
        train(model, 1, 1.0)
        seen = []
        model.target["neck"].register_forward_hook(lambda *args, seen=seen: seen.append(args[-1]))
        other = [torch.cat([view[:2], 5 + 3 * view[2:]]) for view in inputs]
        model(inputs, pairs, mode="loss"), model(other, pairs, mode="loss")
        first, second = (keys.unflatten(0, (2, IMAGES))[:, :2] for keys in seen)
        assert not torch.equal(seen[0], seen[1])
        assert torch.allclose(first, second, atol=1e-5) != leaks


def test_averaged_norms_stay_in_eval_mode_and_follow_the_hooks_momentum_only():
    model = contrastive()
    assert not any(module.training for module in model.target.modules())
    assert model.backbone.training
    assert not any(module.training for module in model.eval().train().target.modules())
    start = {name: value.clone() for name, value in model.target.named_buffers()}
    model(*batch(), mode="loss")
    assert all(torch.equal(start[name], value) for name, value in model.target.named_buffers())
    online = dict([*model.backbone.named_buffers("backbone"), *model.neck.named_buffers("neck")])
    model.update_target(0.75)
    for name, value in model.target.named_buffers():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.75 * start[name] + 0.25 * online[name], msg=name)
            assert not torch.equal(value, start[name]), name
        else:
            assert torch.equal(value, online[name]), name


def test_averaged_norms_in_byol_too_and_other_names_are_refused():
    cfg = config("global", "BYOL")
    assert not MODELS.build({**cfg, "target_norm": "average"}).train().target["backbone"].bn1.training
    assert MODELS.build(cfg).train().target["backbone"].bn1.training
    with pytest.raises(InputError, match=r"BYOL: a contrastive head with target_norm='batch' .* Set model.target_norm="):
        MODELS.build({**cfg, "head": contrastive_head(), "target_norm": "batch"})
    with pytest.raises(InputError, match=r"BYOL: target_norm='batches' is not known"):
        MODELS.build({**cfg, "target_norm": "batches"})


def test_contrastive_terms_equal_cross_entropy_over_the_queue():
    model = contrastive()
    train(model, 1, 1.0)
    inputs, pairs = batch(seed=5)
    first, second = pairs["view_scores"].unbind(1)
    local = pairs["local_scores"]
    scores = torch.cat([first[:, None] * second[:, None], local * first[:, None], local * second[:, None]], 1).sqrt()
    weights = crop_weights(scores, torch.ones_like(scores, dtype=torch.bool), pairs["guidance"])
    reference = copy.deepcopy(model)
    key1, key2 = functional.normalize(reference.target["neck"](reference.target["backbone"](torch.cat(inputs)))[:, 0],
                                      dim=-1).chunk(2)  # fmt: skip
    query1, query2 = reference.neck(reference.backbone(torch.cat(inputs)))[:, 0].chunk(2)
    small = reference.neck(reference.backbone(pairs["local_views"].flatten(0, 1))).reshape(IMAGES, LOCAL, 8)

    def term(query, key):
        unit = functional.normalize(query, dim=-1)
        logits = torch.cat([(unit * key).sum(-1, keepdim=True), unit @ model.head.queue.t()], 1) / 0.2
        return functional.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64), reduction="none")

    whole = (weights[:, 0] * (term(query1, key2) + term(query2, key1))).mean()
    around = sum(
        weights[:, 1 + crop] * term(small[:, crop], key1) + weights[:, 1 + LOCAL + crop] * term(small[:, crop], key2)
        for crop in range(LOCAL)
    ).mean() / LOCAL
    out = model(inputs, pairs, mode="loss")
    torch.testing.assert_close(out["loss_global"], whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out["loss_local"], around, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.head.queue, model.local_head.queue)
    assert {"contrast_accuracy", "local_contrast_accuracy"} <= set(out)


def test_contrastive_training_learns():
    model = contrastive(weigh=False)
    coarse = functional.interpolate(
        torch.randn(16, 3, 4, 4, generator=torch.Generator().manual_seed(0)), size=64, mode="bilinear"
    )
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    history = []
    for step in range(30):
        noise = torch.randn(3, 16, 3, 64, 64, generator=torch.Generator().manual_seed(step))
        pairs = {"local_views": (coarse + 0.1 * noise[2])[:, None, :, :48, :48]}
        out = model([coarse + 0.1 * noise[0], coarse + 0.1 * noise[1]], pairs, mode="loss")
        loss, _ = model.parse_losses(out)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.update_target(0.9)
        history.append(float(loss.detach()))
    assert sum(history[-5:]) < 0.8 * sum(history[2:7])
    assert float(out["projection_std"]) > 0.3


def test_checkpoint_restores_queue_and_averages(tmp_path):
    model = contrastive()
    train(model, 3, 1.0)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    restored = contrastive()
    restored.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))
    assert restored.head.pointer == model.head.pointer == 8
    outs = [instance(*batch(9), mode="loss")["loss_global"] for instance in (model, restored)]
    assert torch.equal(*outs)
    assert torch.equal(model.head.queue, restored.head.queue)


# -- bad settings and bad batches -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("regions", "options", "message"),
    [
        ("global", {"regions": "box"}, "regions='box' is not known; use one of 'global', 'boxes', 'both'"),
        ("global", {"region_head": predict_head()}, "has no use for a region_head"),
        ("both", {"region_head": None}, "needs a region_head"),
        ("boxes", {"local_head": predict_head()}, "local_head compares local crops with whole views"),
        ("global", {"weight_clip": (2.0, 4.0)}, r"weight_clip=\(2.0, 4.0\)"),
        ("global", {"head": contrastive_head()}, "Set model.target_norm='average'"),
        ("global", {"local_head": contrastive_head()}, "Set model.target_norm='average'"),
    ],
)
def test_settings_that_do_not_fit_are_named(regions, options, message):
    with pytest.raises(InputError, match=message):
        MODELS.build(config(regions, **options))


@pytest.mark.parametrize(
    ("regions", "lacks", "message"),
    [
        ("boxes", "boxes", "Put SpatialConsistentPair"),
        ("boxes", "box_scores", "Put LoadSaliency and ScoreCrops"),
        ("both", "guidance", "Put LoadSaliency and ScoreCrops"),
        ("global", "view_scores", "Put LoadSaliency and ScoreCrops"),
        ("global", "local_scores", "Put LoadSaliency and ScoreCrops"),
        ("global", "local_views", "Put LocalCrops into the pipeline"),
    ],
)
def test_what_a_batch_lacks_is_named(regions, lacks, message):
    model = build(regions, **({} if regions == "boxes" else {"local_head": predict_head()}))
    inputs, pairs = batch()
    del pairs[lacks]
    with pytest.raises(InputError, match=rf"no pairs\['{lacks}'\].*{message}"):
        model(inputs, pairs, mode="loss")


def test_a_neck_that_does_not_fit_the_regions_is_named():
    cfg = config("both")
    cfg["neck"]["type"] = "GlobalNeck"
    with pytest.raises(InputError, match=r"GlobalNeck gives 1 vectors a view, but regions='both' compares 4"):
        MODELS.build(cfg).train()(*batch(), mode="loss")


def test_a_batch_of_one():
    model = build("both", local_head=predict_head())
    inputs, pairs = batch()
    inputs, pairs = [view[:1] for view in inputs], {key: value[:1] for key, value in pairs.items()}
    assert torch.isfinite(model.parse_losses(model(inputs, pairs, mode="loss"))[0])
    pairs["local_views"] = pairs["local_views"][:, :1]
    pairs["local_scores"] = pairs["local_scores"][:, :1]
    with pytest.raises(InputError, match="one image with one local crop"):
        model(inputs, pairs, mode="loss")


def test_compile_wraps_the_extra_heads_too():
    model = build("both", local_head=predict_head(), compile={"backend": "eager"})
    for part in (model.head, model.region_head, model.local_head):
        assert part._compiled_call_impl is not None
    assert isinstance(model.local_head, nn.Module)
