import copy

import pytest
import torch
from torch import nn

from mmsscl.engine.optimizers import LARS
from mmsscl.errors import InputError
from mmsscl.registry import OPTIMIZERS


def make_params():
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 3, 3, 3), (5, 4), (7,), (), (1, 6), (2, 2)]
    params = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    nn.init.zeros_(params[5])
    return params


def set_grads(params, step):
    generator = torch.Generator().manual_seed(100 + step)
    for index, param in enumerate(params):
        param.grad = torch.randn(param.shape, generator=generator)
        if index == 4 and step == 1:
            param.grad.zero_()


def reference_step(weights, grads, buffers, lr, momentum, decay, trust, eps):
    """The paper's algorithm, one parameter at a time, in double precision."""
    for index, (w, g) in enumerate(zip(weights, grads)):
        if w.ndim > 1:
            w_norm, g_norm = w.norm().item(), g.norm().item()
            ratio = trust * w_norm / (g_norm + decay * w_norm + eps) if w_norm > 0 and g_norm > 0 else 1.0
            g = ratio * (g + decay * w)
        buffers[index] = momentum * buffers[index] + g
        weights[index] = w - lr * buffers[index]


@pytest.mark.parametrize("decay", [0.0, 1e-2])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_equals_the_algorithm_over_several_steps(decay, momentum):
    params = make_params()
    weights = [p.detach().double() for p in params]
    buffers = [torch.zeros_like(w) for w in weights]
    optimizer = LARS(params, lr=0.5, momentum=momentum, weight_decay=decay, trust_coefficient=0.02, eps=1e-8)
    for step in range(6):
        lr = 0.5 / (step + 1)
        optimizer.param_groups[0]["lr"] = lr
        set_grads(params, step)
        grads = [p.grad.clone() for p in params]
        optimizer.step()
        assert all(torch.equal(p.grad, g) for p, g in zip(params, grads)), "gradients must not be touched"
        reference_step(weights, [g.double() for g in grads], buffers, lr, momentum, decay, 0.02, 1e-8)
        for param, weight in zip(params, weights):
            torch.testing.assert_close(param.detach().double(), weight, atol=1e-5, rtol=1e-5)


def test_one_dimensional_parameters_are_plain_sgd():
    params, other = make_params(), make_params()
    lars = LARS([params[2], params[3]], lr=0.3, momentum=0.9, weight_decay=0.5)
    sgd = torch.optim.SGD([other[2], other[3]], lr=0.3, momentum=0.9)
    for step in range(4):
        set_grads(params, step)
        set_grads(other, step)
        lars.step()
        sgd.step()
    torch.testing.assert_close(params[2], other[2])
    torch.testing.assert_close(params[3], other[3])


def test_parameters_without_gradient_are_left_and_get_no_state():
    params = make_params()
    frozen = nn.Parameter(torch.ones(3, 3), requires_grad=False)
    optimizer = LARS([*params, frozen], lr=1.0, weight_decay=1.0)
    set_grads(params, 0)
    params[0].grad = None
    before = params[0].detach().clone()
    optimizer.step()
    assert torch.equal(params[0], before)
    assert torch.equal(frozen, torch.ones(3, 3))
    assert set(optimizer.state) == set(params[1:])


def test_state_dict_round_trip_continues_the_same_run():
    params = make_params()
    optimizer = LARS(params, lr=0.5, weight_decay=1e-2)
    for step in range(2):
        set_grads(params, step)
        optimizer.step()
    copied = [nn.Parameter(p.detach().clone()) for p in params]
    resumed = LARS(copied, lr=9.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for step in (2, 3):
        for ps, opt in ((params, optimizer), (copied, resumed)):
            set_grads(ps, step)
            opt.step()
    for a, b in zip(params, copied):
        assert torch.equal(a, b)


def test_groups_keep_their_own_settings_and_closure_runs():
    a, b = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimizer = LARS([{"params": [a]}, {"params": [b], "lr": 0.0}], lr=1.0)

    def closure():
        optimizer.zero_grad()
        loss = (a.square() + b.square()).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 8.0
    assert not torch.equal(a, torch.ones(2, 2))
    assert torch.equal(b, torch.ones(2, 2))


@pytest.mark.parametrize(
    ("name", "value"),
    [("lr", -0.1), ("momentum", 1.0), ("momentum", -0.1), ("weight_decay", -1.0), ("trust_coefficient", 0.0),
     ("eps", -1e-8), ("lr", float("nan"))],
)
def test_bad_arguments(name, value):
    with pytest.raises(InputError, match=name):
        LARS(make_params(), **{"lr": 0.1, name: value})


def test_registered_in_our_scope():
    assert isinstance(OPTIMIZERS.build({"type": "mmsscl.LARS", "params": make_params(), "lr": 0.1}), LARS)
