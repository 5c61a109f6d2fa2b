import math

import pytest
import torch

from mmsscl.errors import InputError
from mmsscl.models.layers import cosine_momentum, update_average


def test_schedule_ends_middle_and_order():
    assert cosine_momentum(0, 10, 0.97) == pytest.approx(0.97)
    assert cosine_momentum(10, 10, 0.97) == 1.0
    assert cosine_momentum(5, 10, 0.97, 0.99) == pytest.approx(0.98)
    values = [cosine_momentum(step, 50, 0.9) for step in range(51)]
    assert values == sorted(values)


def test_schedule_is_the_papers_formula():
    for step in range(0, 101, 7):
        expected = 1 - (1 - 0.996) * (1 + math.cos(math.pi * step / 100)) / 2
        assert cosine_momentum(step, 100, 0.996) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((0, 0, 0.9), "total_steps"), ((-1, 5, 0.9), "step"), ((6, 5, 0.9), "step"),
        ((0, 5, 1.1), "base"), ((0, 5, float("nan")), "base"), ((0, 5, 0.9, -0.1), "final"),
    ],
)
def test_schedule_refuses(arguments, word):
    with pytest.raises(InputError, match=word):
        cosine_momentum(*arguments)


def test_update_is_the_weighted_mean_in_place():
    average = [torch.randn(3, 4), torch.randn(5), torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)]
    current = [torch.randn_like(t).requires_grad_() for t in average]
    expected = [0.9 * a + 0.1 * c.detach() for a, c in zip(average, current)]
    pointers = [t.data_ptr() for t in average]
    update_average(average, current, 0.9)
    for result, value in zip(average, expected):
        torch.testing.assert_close(result, value)
    assert [t.data_ptr() for t in average] == pointers


def test_update_extremes_are_exact():
    average, current = [torch.randn(4)], [torch.randn(4)]
    before = average[0].clone()
    update_average(average, current, 1.0)
    assert torch.equal(average[0], before)
    update_average(average, current, 0.0)
    assert torch.equal(average[0], current[0])


def test_update_refuses():
    with pytest.raises(InputError, match="momentum"):
        update_average([torch.zeros(1)], [torch.zeros(1)], 1.5)
    with pytest.raises(InputError, match="2 tensors"):
        update_average([torch.zeros(1)] * 2, [torch.zeros(1)], 0.5)
