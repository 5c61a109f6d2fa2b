import numpy as np
import torch

from mmsscl.models.losses import CosineLoss


def test_equals_numpy():
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(size=(2, 4, 3, 5))
    valid = rng.random((4, 3)) < 0.6
    norm = np.linalg.norm
    cosine = (prediction * target).sum(-1) / norm(prediction, axis=-1) / norm(target, axis=-1)
    expected = (2 - 2 * cosine)[valid].sum() / 7
    loss = CosineLoss()(*map(torch.from_numpy, (prediction, target, valid)), torch.tensor(7.0))
    np.testing.assert_allclose(float(loss), expected, rtol=1e-5)


def test_weights_multiply_each_term_and_ones_change_no_bit():
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, 4, 3, 5, generator=generator)
    valid = torch.rand(4, 3, generator=generator) < 0.6
    weights = torch.rand(4, 3, generator=generator)
    weights[~valid] = float("nan")
    loss = CosineLoss()(prediction, target, valid, torch.tensor(7.0), weights)
    terms = 2 - 2 * torch.nn.functional.cosine_similarity(prediction, target, dim=-1)
    torch.testing.assert_close(loss, (terms * weights)[valid].sum() / 7)
    plain = CosineLoss()(prediction, target, valid, torch.tensor(7.0))
    assert torch.equal(CosineLoss()(prediction, target, valid, torch.tensor(7.0), torch.ones(4, 3)), plain)


def test_range():
    vectors, valid, count = torch.randn(1, 2, 8), torch.ones(1, 2, dtype=torch.bool), torch.tensor(2.0)
    assert abs(float(CosineLoss()(vectors, 3 * vectors, valid, count))) < 1e-6
    assert abs(float(CosineLoss()(vectors, -vectors, valid, count)) - 4) < 1e-6


def test_gradient_only_to_valid_predictions():
    prediction = torch.randn(2, 3, 4, requires_grad=True)
    target = torch.randn(2, 3, 4, requires_grad=True)
    valid = torch.tensor([[True, False, True], [False, True, False]])
    CosineLoss()(prediction, target, valid, torch.tensor(3.0)).backward()
    assert target.grad is None
    assert torch.equal(prediction.grad.abs().sum(-1) > 0, valid)


def test_gradient_is_right():
    torch.manual_seed(0)
    prediction, target = torch.randn(1, 1, 4, requires_grad=True), torch.randn(1, 1, 4)
    valid, count = torch.ones(1, 1, dtype=torch.bool), torch.tensor(1.0)
    (grad,) = torch.autograd.grad(CosineLoss()(prediction, target, valid, count), prediction)
    p, t = prediction.detach()[0, 0].double(), torch.nn.functional.normalize(target[0, 0].double(), dim=0)
    unit = p / p.norm()
    expected = -2 * (t - unit * (unit @ t)) / p.norm()
    torch.testing.assert_close(grad[0, 0].double(), expected, atol=1e-6, rtol=1e-5)


def test_zero_vectors_and_no_valid_rows_stay_finite():
    prediction = torch.zeros(2, 3, 4, requires_grad=True)
    loss = CosineLoss()(prediction, torch.zeros(2, 3, 4), torch.ones(2, 3, dtype=torch.bool), torch.tensor(6.0))
    loss.backward()
    assert torch.isfinite(prediction.grad).all()
    prediction = torch.randn(2, 3, 4, requires_grad=True)
    loss = CosineLoss()(prediction, torch.randn(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool), torch.tensor(1.0))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(prediction.grad, torch.zeros(2, 3, 4))


def test_float32_inside_autocast():
    prediction, target = torch.randn(2, 3, 64), torch.randn(2, 3, 64)
    valid, count = torch.ones(2, 3, dtype=torch.bool), torch.tensor(6.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = CosineLoss()(prediction.bfloat16(), target.bfloat16(), valid, count)
    expected = CosineLoss()(prediction.bfloat16().float(), target.bfloat16().float(), valid, count)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)
