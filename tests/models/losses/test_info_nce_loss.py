import pytest
import torch
import torch.nn.functional as functional

from mmsscl.errors import InputError
from mmsscl.models.losses import InfoNCELoss


def inputs(seed=0, images=3, pairs=2, width=8, negatives=11):
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(images, pairs, width, generator=generator, requires_grad=True)
    key = torch.randn(images, 1, width, generator=generator)
    queue = functional.normalize(torch.randn(negatives, width, generator=generator), dim=-1)
    return query, key, queue


def explicit_terms(query, key, queue, temperature):
    """torch's cross-entropy over one row of logits for each query, the key's first."""
    rows = []
    for image in range(query.shape[0]):
        for pair in range(query.shape[1]):
            candidates = torch.cat([functional.normalize(key[image, :1], dim=-1), queue])
            logits = candidates @ functional.normalize(query[image, pair], dim=0) / temperature
            rows.append(functional.cross_entropy(logits[None], torch.zeros(1, dtype=torch.int64)))
    return torch.stack(rows).reshape(query.shape[:2])


def test_equals_cross_entropy_over_explicit_logits():
    query, key, queue = inputs()
    valid = torch.tensor([[True, True], [False, True], [True, False]])
    weights = torch.tensor([[0.5, 1.5], [9.0, 1.0], [2.0, 7.0]])
    terms = explicit_terms(query, key, queue, 0.3)
    loss, best = InfoNCELoss(0.3)(query, key, queue, valid, torch.tensor(4.0), weights)
    torch.testing.assert_close(loss, (terms * weights)[valid].sum() / 4)
    expected = torch.autograd.grad((terms * weights)[valid].sum() / 4, query)[0]
    torch.testing.assert_close(torch.autograd.grad(loss, query)[0], expected)
    similarity = functional.normalize(query, dim=-1) @ queue.t()
    assert torch.equal(best, functional.cosine_similarity(query, key, dim=-1) > similarity.amax(-1))


def test_invalid_pairs_get_zero_gradient_and_without_any_the_loss_is_zero():
    query, key, queue = inputs()
    valid = torch.tensor([[True, False], [False, False], [True, True]])
    loss, _ = InfoNCELoss()(query, key, queue, valid, torch.tensor(3.0))
    gradient = torch.autograd.grad(loss, query)[0]
    assert torch.equal(gradient[~valid], torch.zeros(3, 8))
    assert gradient[valid].abs().sum(1).min() > 1e-4
    loss, _ = InfoNCELoss()(query, key, queue, torch.zeros_like(valid), torch.tensor(1.0))
    assert float(loss.detach()) == 0.0


def test_large_logits_stay_finite_and_only_the_query_learns():
    query, key, queue = inputs()
    key.requires_grad_(), queue.requires_grad_()
    weights = torch.ones(3, 2, requires_grad=True)
    valid = torch.ones(3, 2, dtype=torch.bool)
    loss, _ = InfoNCELoss(1e-3)(1e4 * query, key, queue, valid, torch.tensor(6.0), weights)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(query.grad).all()
    assert key.grad is None
    assert queue.grad is None
    assert weights.grad is None


def test_float32_under_autocast():
    query, key, queue = inputs()
    valid = torch.ones(3, 2, dtype=torch.bool)
    expected, _ = InfoNCELoss()(query, key, queue, valid, torch.tensor(6.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = InfoNCELoss()(query, key, queue, valid, torch.tensor(6.0))
    assert torch.equal(loss, expected)


@pytest.mark.parametrize("temperature", [0.0, -0.2, float("nan")])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(InputError, match=r"temperature=.* must be above 0"):
        InfoNCELoss(temperature)
