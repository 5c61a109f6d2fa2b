import pytest
import torch
import torch.nn.functional as functional

from mmsscl.models.heads import RegionPredictHead
from mmsscl.models.heads.region_predict_head import mean_normaliser, projection_spread


def make_head():
    torch.manual_seed(0)
    return RegionPredictHead(6, 12, 6, norm_cfg={"type": "BN"})


def test_loss_is_the_sum_of_both_directions_means():
    p1, p2, t1, t2 = torch.randn(4, 3, 5, 6)
    valid = torch.tensor([[True, True, False, False, True], [False] * 5, [True] * 5])
    out = make_head().loss(p1, p2, t1, t2, valid)
    cos12 = functional.cosine_similarity(p1[valid], t2[valid], dim=-1)
    cos21 = functional.cosine_similarity(p2[valid], t1[valid], dim=-1)
    torch.testing.assert_close(out["loss_cosine"], (2 - 2 * cos12).mean() + (2 - 2 * cos21).mean())
    torch.testing.assert_close(out["positive_cosine"], torch.cat([cos12, cos21]).mean())
    assert float(out["boxes_per_image"]) == pytest.approx(8 / 3)
    assert [name for name in out if "loss" in name] == ["loss_cosine"]
    assert not any(value.requires_grad for name, value in out.items() if name != "loss_cosine")


def test_spread_against_torch_std_and_its_extremes():
    torch.manual_seed(0)
    vectors, valid = torch.randn(40, 5, 16), torch.rand(40, 5) < 0.7
    unit = functional.normalize(vectors[valid], dim=-1)
    torch.testing.assert_close(projection_spread(vectors, valid), unit.std(0, unbiased=False).mean() * 4)
    assert 0.95 < float(projection_spread(torch.randn(500, 4, 64), torch.ones(500, 4, dtype=torch.bool))) <= 1.0
    same = torch.randn(16).expand(40, 5, 16) * torch.rand(40, 5, 1)
    assert float(projection_spread(same, valid)) < 1e-3
    assert float(projection_spread(vectors, torch.zeros(40, 5, dtype=torch.bool))) == 0.0


def test_spread_ignores_invalid_rows():
    vectors, valid = torch.randn(8, 2, 4), torch.tensor([True, False]).repeat(8, 1)
    changed = vectors.clone()
    changed[:, 1] = 100 * torch.randn(8, 4)
    assert torch.equal(projection_spread(vectors, valid), projection_spread(changed, valid))


def test_no_valid_box_gives_zero_loss_and_zero_finite_gradients():
    head = make_head()
    vectors = torch.randn(2, 4, 3, 6, requires_grad=True)
    p1, p2 = head.predict(torch.cat(list(vectors))).chunk(2)
    out = head.loss(p1, p2, torch.randn(4, 3, 6), torch.randn(4, 3, 6), torch.zeros(4, 3, dtype=torch.bool))
    out["loss_cosine"].backward()
    assert float(out["loss_cosine"]) == 0.0
    for tensor in (vectors, *head.parameters()):
        assert torch.equal(tensor.grad, torch.zeros_like(tensor))
    assert all(torch.isfinite(value) for value in out.values())


def test_normaliser_in_one_process():
    assert float(mean_normaliser(torch.tensor([[True, False], [True, True]]))) == 3.0
    assert float(mean_normaliser(torch.zeros(2, 2, dtype=torch.bool))) == 1.0


def test_predict_maps_each_vector():
    head = make_head().eval()
    vectors = torch.randn(4, 3, 6)
    out = head.predict(vectors)
    assert out.shape == (4, 3, 6)
    torch.testing.assert_close(out[2, 1], head.predictor(vectors[2, 1:2])[0])
