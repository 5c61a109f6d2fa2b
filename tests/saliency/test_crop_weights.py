import numpy as np
import pytest
import torch

from mmsscl.errors import InputError
from mmsscl.saliency import crop_weights, effective_sample_size, pair_scores


def expected_weights(scores, valid, guidance, low=0.25, high=4.0):
    """One image at a time, in float64."""
    weights = np.ones_like(scores)
    for row, (score, use, strength) in enumerate(zip(scores, valid, guidance)):
        if strength == 0 or not use.any() or score[use].sum() == 0:
            continue
        relative = score[use] / np.mean(score[use])
        mixed = np.clip(1 - strength + strength * relative, low, high)
        weights[row, use] = mixed / np.mean(mixed)
    return weights


def sample(count=40, crops=8, seed=0):
    generator = np.random.default_rng(seed)
    scores = generator.random((count, crops)) ** 4
    scores[generator.random((count, crops)) < 0.2] = 0
    return scores, generator.random((count, crops)) < 0.7, generator.random(count)


def as_tensors(scores, valid, guidance):
    return torch.tensor(scores).float(), torch.tensor(valid), torch.tensor(guidance).float()


@pytest.mark.parametrize("clip", [(0.25, 4.0), (0.8, 1.1), (0.01, 50.0)])
def test_weights_equal_the_formula_image_by_image(clip):
    scores, valid, guidance = sample()
    valid[3], scores[4], guidance[5], valid[6] = False, 0, 0, np.arange(8) == 2
    weights = crop_weights(*as_tensors(scores, valid, guidance), clip=clip)
    np.testing.assert_allclose(weights.numpy(), expected_weights(scores, valid, guidance, *clip), rtol=1e-5)
    assert weights.dtype == torch.float32


def test_the_mean_over_valid_crops_is_one_after_clipping():
    scores = torch.zeros(2, 16)
    scores[0, 0] = 1.0
    scores[1, :8] = torch.linspace(0, 1, 8)
    valid = torch.ones(2, 16, dtype=torch.bool)
    valid[1, 8:] = False
    weights = crop_weights(scores, valid, torch.ones(2))
    assert weights[0].mean().item() == pytest.approx(1, abs=1e-6)
    assert weights[1, :8].mean().item() == pytest.approx(1, abs=1e-6)
    # 16 and 0 are clipped to 4 and .25 first, so the crops without a score keep a part in the loss
    assert (weights[0, 0] / weights[0, 1]).item() == pytest.approx(16)
    assert weights[1, 8:].eq(1).all()


def test_no_guidance_gives_exactly_one():
    scores, valid, _ = sample()
    scores[2, 3] = np.inf
    valid[2] = True
    weights = crop_weights(*as_tensors(scores, valid, np.zeros(40)))
    assert torch.equal(weights, torch.ones(40, 8))


@pytest.mark.parametrize("score", [0.0, 1e-30, 1.0])
def test_equal_scores_weigh_one(score):
    weights = crop_weights(torch.full((3, 4), score), torch.ones(3, 4, dtype=torch.bool), torch.ones(3))
    torch.testing.assert_close(weights, torch.ones(3, 4))


@pytest.mark.parametrize("score", [0.0, 0.003, 1.0])
def test_a_single_valid_crop_weighs_one(score):
    valid = torch.tensor([[False, True, False]])
    weights = crop_weights(torch.tensor([[0.9, score, 0.1]]), valid, torch.tensor([0.7]))
    torch.testing.assert_close(weights, torch.ones(1, 3))


def test_an_image_without_valid_crop_and_scores_of_invalid_crops_do_no_harm():
    scores = torch.tensor([[0.4, float("nan"), 0.8], [float("nan"), float("inf"), 0.0]])
    valid = torch.tensor([[True, False, True], [False, False, False]])
    weights = crop_weights(scores, valid, torch.ones(2))
    torch.testing.assert_close(weights, torch.tensor([[2 / 3, 1, 4 / 3], [1, 1, 1]]))
    assert effective_sample_size(weights, valid).isfinite()


def test_no_gradient_passes():
    scores = torch.rand(2, 3, requires_grad=True)
    guidance = torch.rand(2, requires_grad=True)
    valid = torch.ones(2, 3, dtype=torch.bool)
    weights = crop_weights(pair_scores(scores, scores), valid, guidance)
    assert not weights.requires_grad
    assert not effective_sample_size(weights.requires_grad_(), valid).requires_grad


def test_float32_under_autocast_and_from_half_scores():
    scores, valid, guidance = as_tensors(*sample())
    with torch.autocast("cpu", torch.bfloat16):
        under = crop_weights(scores, valid, guidance)
        assert pair_scores(scores.half(), scores.half()).dtype == torch.float32
    assert torch.equal(under, crop_weights(scores, valid, guidance))
    assert crop_weights(scores.half(), valid, guidance.bfloat16()).dtype == torch.float32


def test_effective_sample_size_equals_kish_image_by_image():
    scores, valid, guidance = sample()
    valid[7] = False
    weights = expected_weights(scores, valid, guidance)
    shares = [w[v].sum() ** 2 / (v.sum() * (w[v] ** 2).sum()) for w, v in zip(weights, valid) if v.any()]
    result = effective_sample_size(torch.tensor(weights), torch.tensor(valid))
    assert result.shape == ()
    assert result.item() == pytest.approx(np.mean(shares), rel=1e-5)


@pytest.mark.parametrize(
    ("weights", "valid", "share"),
    [
        ([[1, 1, 1, 1]], [[1, 1, 1, 1]], 1.0),
        ([[3, 0, 0, 0]], [[1, 1, 1, 1]], 0.25),
        ([[3, 0, 0, 0]], [[1, 1, 0, 0]], 0.5),
        ([[3, 0], [1, 1]], [[1, 1], [0, 0]], 0.5),
        ([[0, 0]], [[1, 1]], 1.0),
        ([[2, 5]], [[0, 0]], 1.0),
    ],
)
def test_effective_sample_size_of_known_weights(weights, valid, share):
    result = effective_sample_size(torch.tensor(weights).float(), torch.tensor(valid).bool())
    assert result.item() == pytest.approx(share)


def test_pair_score_is_the_geometric_mean():
    scores = pair_scores(torch.tensor([0.9, 0.0, 1.0]), torch.tensor([0.4, 1.0, 1.0]))
    torch.testing.assert_close(scores, torch.tensor([0.6, 0.0, 1.0]))


def test_nothing_depends_on_values_that_a_device_holds():
    # a meta tensor has no values: any read of one raises
    scores, guidance = torch.empty(4, 5, device="meta"), torch.empty(4, device="meta")
    valid = torch.empty(4, 5, device="meta", dtype=torch.bool)
    weights = crop_weights(pair_scores(scores, scores), valid, guidance)
    assert weights.shape == (4, 5)
    assert effective_sample_size(weights, valid).shape == ()


@pytest.mark.parametrize(
    ("shapes", "clip", "match"),
    [
        (((4,), (4,), (4,)), (0.25, 4.0), r"scores \(4,\)"),
        (((4, 2), (4, 3), (4,)), (0.25, 4.0), r"valid \(4, 3\)"),
        (((4, 2), (4, 2), (2,)), (0.25, 4.0), r"guidance \(2,\)"),
        (((4, 2), (4, 2), (4,)), (0.0, 4.0), "clip"),
        (((4, 2), (4, 2), (4,)), (1.5, 4.0), "clip"),
    ],
)
def test_bad_input(shapes, clip, match):
    scores, valid, guidance = map(torch.zeros, shapes)
    with pytest.raises(InputError, match=match):
        crop_weights(scores, valid.bool(), guidance, clip)
