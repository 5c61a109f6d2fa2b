"""Deformable attention and convolutions served in place of mmcv's compiled ones, against loops of our own."""
import importlib
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import mmsscl  # noqa: F401  (installs the finder)
from mmsscl.ops.mmcv_finder import ServedExtension

mmcv_ops = importlib.import_module("mmcv.ops")
attention = importlib.import_module("mmcv.ops.multi_scale_deform_attn")


@pytest.fixture(autouse=True)
def _served_only() -> None:
    if not isinstance(importlib.import_module("mmcv._ext"), ServedExtension):
        pytest.skip("mmcv brings its own compiled operators here: nothing is served")


def sample(plane: NDArray, y: float, x: float) -> float:
    """Bilinear sample of a plane that is zero outside; whole numbers are pixel centres."""
    total, top, left = 0.0, math.floor(y), math.floor(x)
    for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
            total += plane[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


SHAPES = torch.tensor([[4, 5], [2, 3]])


def attention_inputs(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(21)
    value = torch.randn(2, 26, 2, 3, generator=generator, dtype=torch.float64)
    locations = torch.rand(2, 3, 2, 2, 2, 2, generator=generator, dtype=torch.float64) * 1.4 - 0.2  # some outside
    weights = torch.rand(2, 3, 2, 2, 2, generator=generator, dtype=torch.float64)
    return value.to(dtype), locations.to(dtype), weights.to(dtype)


def run_attention(value: torch.Tensor, locations: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    starts = torch.tensor([0, 20])
    return attention.MultiScaleDeformableAttnFunction.apply(value, SHAPES, starts, locations, weights, 64)


def numpy_attention(value: NDArray, locations: NDArray, weights: NDArray) -> NDArray:
    batch, queries, heads, levels, points, _ = locations.shape
    output = np.zeros((batch, queries, heads, value.shape[-1]))
    starts, shapes = [0, 20], SHAPES.tolist()
    for b, q, h, level, p, d in np.ndindex(batch, queries, heads, levels, points, value.shape[-1]):
        rows, columns = shapes[level]
        begin = starts[level]
        plane = value[b, begin : begin + rows * columns, h, d].reshape(rows, columns)
        x, y = locations[b, q, h, level, p]
        output[b, q, h, d] += weights[b, q, h, level, p] * sample(plane, y * rows - 0.5, x * columns - 0.5)
    return output.reshape(batch, queries, -1)


def test_attention_equals_numpy() -> None:
    inputs = attention_inputs(torch.float32)
    expected = numpy_attention(*(tensor.double().numpy() for tensor in inputs))
    torch.testing.assert_close(run_attention(*inputs), torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-5)


def test_attention_gradcheck() -> None:
    inputs = [tensor.requires_grad_() for tensor in attention_inputs(torch.float64)]
    assert torch.autograd.gradcheck(run_attention, inputs)


def test_attention_bfloat16() -> None:
    rounded = attention_inputs(torch.bfloat16)
    results = []
    for dtype in (torch.bfloat16, torch.float32):
        inputs = [tensor.to(dtype).clone().requires_grad_() for tensor in rounded]
        output = run_attention(*inputs)
        output.backward(torch.ones_like(output))
        assert output.dtype == dtype
        results.append([output.detach().float(), *(tensor.grad.float() for tensor in inputs)])
    for half, exact in zip(*results):
        torch.testing.assert_close(half, exact, rtol=2**-7, atol=2**-9)


def numpy_deform_conv(
    image: NDArray, offset: NDArray, mask: NDArray, weight: NDArray, stride: int, padding: int, dilation: int,
    groups: int, deform_groups: int,
) -> NDArray:
    out, per_group, kernel_h, kernel_w = weight.shape
    batch, channels = image.shape[:2]
    rows, columns = offset.shape[2:]
    output = np.zeros((batch, out, rows, columns))
    for n, o, y, x in np.ndindex(batch, out, rows, columns):
        for c, i, j in np.ndindex(per_group, kernel_h, kernel_w):
            channel = (o * groups // out) * per_group + c
            tap = (channel * deform_groups // channels) * kernel_h * kernel_w + i * kernel_w + j
            at_y = y * stride - padding + i * dilation + offset[n, 2 * tap, y, x]
            at_x = x * stride - padding + j * dilation + offset[n, 2 * tap + 1, y, x]
            output[n, o, y, x] += weight[o, c, i, j] * mask[n, tap, y, x] * sample(image[n, channel], at_y, at_x)
    return output


SETTINGS = [(1, 1, 1, 1, 1), (2, 1, 1, 2, 1), (1, 2, 2, 1, 2)]  # stride, padding, dilation, groups, deform groups


def conv_inputs(
    setting: tuple[int, ...], dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    stride, padding, dilation, groups, deform_groups = setting
    generator = torch.Generator().manual_seed(22)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    rows = (5 + 2 * padding - 2 * dilation - 1) // stride + 1
    columns = (6 + 2 * padding - 2 * dilation - 1) // stride + 1
    taps = deform_groups * 9
    mask = torch.rand(2, taps, rows, columns, generator=generator, dtype=torch.float64).to(dtype)
    return normal(2, 4, 5, 6), normal(2, 2 * taps, rows, columns), mask, normal(2, 4 // groups, 3, 3), normal(2)


@pytest.mark.parametrize("setting", SETTINGS)
def test_deform_conv_equals_numpy(setting: tuple[int, ...]) -> None:
    image, offset, mask, weight, bias = conv_inputs(setting, torch.float32)
    arrays = [tensor.double().numpy() for tensor in (image, offset, mask, weight)]
    plain = numpy_deform_conv(arrays[0], arrays[1], np.ones_like(arrays[2]), arrays[3], *setting)
    output = mmcv_ops.deform_conv2d(image, offset, weight, *setting)
    torch.testing.assert_close(output, torch.from_numpy(plain).float(), rtol=1e-4, atol=1e-4)
    modulated = numpy_deform_conv(*arrays, *setting)
    output = mmcv_ops.modulated_deform_conv2d(image, offset, mask, weight, None, *setting)
    torch.testing.assert_close(output, torch.from_numpy(modulated).float(), rtol=1e-4, atol=1e-4)
    output = mmcv_ops.modulated_deform_conv2d(image, offset, mask, weight, bias, *setting)
    expected = torch.from_numpy(modulated).float() + bias[:, None, None]
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("setting", SETTINGS[1:])
def test_deform_conv_gradcheck(setting: tuple[int, ...]) -> None:
    image, offset, mask, weight, bias = (
        tensor.requires_grad_() for tensor in conv_inputs(setting, torch.float64)
    )
    assert torch.autograd.gradcheck(
        lambda *inputs: mmcv_ops.deform_conv2d(*inputs, *setting), (image, offset, weight),
        nondet_tol=1e-9, fast_mode=True,
    )
    assert torch.autograd.gradcheck(
        lambda *inputs: mmcv_ops.modulated_deform_conv2d(*inputs, *setting), (image, offset, mask, weight, bias),
        nondet_tol=1e-9, fast_mode=True,
    )


def test_deform_conv_bfloat16() -> None:
    image, offset, mask, weight, bias = conv_inputs(SETTINGS[0], torch.bfloat16)
    half = mmcv_ops.modulated_deform_conv2d(image, offset, mask, weight, bias, *SETTINGS[0])
    exact = mmcv_ops.modulated_deform_conv2d(
        image.float(), offset.float(), mask.float(), weight.float(), bias.float(), *SETTINGS[0]
    )
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=2**-7, atol=2**-9)
