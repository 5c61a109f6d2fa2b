import pytest
import torch
import torch.nn.functional as functional

from mmsscl.errors import InputError
from mmsscl.models.heads import RegionPredictHead, WeightedPredictHead

NORM = {"type": "BN"}
VALID = torch.tensor([[True, True, False, False, True], [False] * 5, [True] * 5])


def make_head(kind=WeightedPredictHead):
    torch.manual_seed(0)
    return kind(6, 12, 6, norm_cfg=NORM)


def sides(seed=1):
    return torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(seed), requires_grad=True)


def distance(prediction, target):
    return 2 - 2 * functional.cosine_similarity(prediction, target, dim=-1)


def test_starts_as_region_predict_head_does():
    mine, plain = make_head().state_dict(), make_head(RegionPredictHead).state_dict()
    assert mine.keys() == plain.keys()
    assert all(torch.equal(mine[name], value) for name, value in plain.items())


@pytest.mark.parametrize("weights", [None, torch.ones(3, 5), torch.ones(2, 3, 5)])
def test_weights_of_one_give_the_bits_of_the_plain_head(weights):
    mine, plain = sides(), sides()
    out = make_head().loss(*mine, VALID, weights)
    expected = make_head(RegionPredictHead).loss(*plain, VALID)
    assert out.keys() == expected.keys()
    assert all(torch.equal(out[name], value) for name, value in expected.items())
    out["loss_cosine"].backward()
    expected["loss_cosine"].backward()
    assert torch.equal(mine.grad, plain.grad)
    assert mine.grad.abs().max() > 0


def test_loss_is_the_weighted_sum_over_the_number_of_valid_pairs():
    p1, p2, t1, t2 = sides()
    weights = torch.rand(2, 3, 5) * 3
    out = make_head().loss(p1, p2, t1, t2, VALID, weights)
    expected = (weights[0] * distance(p1, t2))[VALID].sum() + (weights[1] * distance(p2, t1))[VALID].sum()
    torch.testing.assert_close(out["loss_cosine"], expected / 8)
    same = make_head().loss(p1, p2, t1, t2, VALID, weights[0])["loss_cosine"]
    expected = (weights[0] * (distance(p1, t2) + distance(p2, t1)))[VALID].sum()
    torch.testing.assert_close(same, expected / 8)
    plain = make_head().loss(p1, p2, t1, t2, VALID)
    assert torch.equal(out["positive_cosine"], plain["positive_cosine"])


def test_a_weight_scales_its_pairs_gradient_and_gets_none():
    plain, weighted = sides(), sides()
    weights = torch.rand(3, 5).add(0.1).requires_grad_()
    make_head().loss(*plain, VALID)["loss_cosine"].backward()
    make_head().loss(*weighted, VALID, weights)["loss_cosine"].backward()
    torch.testing.assert_close(weighted.grad[:2], plain.grad[:2] * weights.detach()[None, ..., None])
    assert weights.grad is None


def test_one_target_for_all_predictions_of_an_image():
    p1, p2, t1, t2 = sides()
    single = make_head().loss(p1, p2, t1[:, :1], t2[:, :1], VALID)
    expanded = make_head().loss(p1, p2, t1[:, :1].expand(3, 5, 6), t2[:, :1].expand(3, 5, 6), VALID)
    assert all(torch.equal(single[name], value) for name, value in expanded.items())


def test_no_valid_pair_gives_zero_loss_and_gradients():
    vectors = sides()
    out = make_head().loss(*vectors, torch.zeros_like(VALID), torch.full((3, 5), 4.0))
    out["loss_cosine"].backward()
    assert float(out["loss_cosine"]) == 0.0
    assert torch.equal(vectors.grad, torch.zeros_like(vectors))


def test_float32_under_autocast():
    weights = torch.rand(3, 5) + 0.1
    expected = make_head().loss(*sides(), VALID, weights)["loss_cosine"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(make_head().loss(*sides(), VALID, weights)["loss_cosine"], expected)


def test_weights_of_another_shape_are_named():
    with pytest.raises(InputError, match=r"shape \(5, 3\).*give \(3, 5\).*or \(2, 3, 5\)"):
        make_head().loss(*sides(), VALID, torch.ones(5, 3))
