import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import roi_align

from mmsscl.errors import InputError
from mmsscl.models.layers import RegionPool

SHAPES = [(7, 7), (5, 9), (1, 3)]


def random_boxes(generator, count, boxes, height, width, stride):
    """Boxes of all sizes, some over the edges, some thinner than a cell, some of no area."""
    limit = torch.tensor([width, height]) * float(stride)
    start = (torch.rand(count, boxes, 2, generator=generator) * 1.4 - 0.2) * limit
    side = torch.rand(count, boxes, 2, generator=generator).square() * limit
    side[:, 0] = 0.3 * stride
    result = torch.cat([start, start + side], -1)
    result[:, 1] = torch.tensor([0.0, 0.0, width * stride, height * stride])
    result[:, 2] = torch.tensor([(width - 1.0) * stride, (height - 0.2) * stride, width * stride, height * stride])
    return result


def reference(features, boxes, stride, aligned, sampling_ratio):
    height, width = features.shape[-2:]
    limit = torch.tensor([width, height, width, height]) * float(stride)
    clipped = boxes.clamp(min=0).minimum(limit)
    pooled = roi_align(features, list(clipped), 1, 1 / stride, sampling_ratio, aligned)
    return pooled.reshape(boxes.shape[0], boxes.shape[1], features.shape[1])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling_ratio", [-1, 1, 2, 3])
def test_equals_torchvision_forward_and_gradient(shape, aligned, sampling_ratio):
    generator = torch.Generator().manual_seed(hash((shape, aligned, sampling_ratio)) % 1000)
    features = torch.randn(3, 4, *shape, generator=generator, requires_grad=True)
    boxes = random_boxes(generator, 3, 12, *shape, stride=32)
    weight = torch.randn(3, 12, 4, generator=generator)

    expected = reference(features, boxes, 32, aligned, sampling_ratio)
    (expected_grad,) = torch.autograd.grad((expected * weight).sum(), features)
    pooled = RegionPool(32, aligned, sampling_ratio)(features, boxes)
    (grad,) = torch.autograd.grad((pooled * weight).sum(), features)

    assert pooled.shape == (3, 12, 4)
    torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(grad, expected_grad, atol=1e-5, rtol=1e-5)
    assert expected.abs().max() > 0.1


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 14), width=st.integers(1, 14), stride=st.sampled_from([4, 8, 16, 32, 24]),
    aligned=st.booleans(), sampling_ratio=st.sampled_from([-1, 1, 2, 3]), seed=st.integers(0, 10_000),
)
def test_equals_torchvision_on_any_shape(height, width, stride, aligned, sampling_ratio, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 3, height, width, generator=generator)
    boxes = random_boxes(generator, 2, 5, height, width, stride)
    torch.testing.assert_close(
        RegionPool(stride, aligned, sampling_ratio)(features, boxes),
        reference(features, boxes, stride, aligned, sampling_ratio), atol=2e-5, rtol=0,
    )


def test_box_over_the_edge_pools_like_its_clipped_part():
    features = torch.randn(1, 2, 4, 4)
    over = torch.tensor([[[-500.0, 40.0, 64.0, 900.0]]])
    inside = torch.tensor([[[0.0, 40.0, 64.0, 128.0]]])
    pool = RegionPool(32)
    torch.testing.assert_close(pool(features, over), pool(features, inside), atol=0, rtol=0)


def test_constant_map_pools_to_its_value():
    boxes = torch.tensor([[[3.0, 5.0, 90.0, 60.0], [0.0, 0.0, 128.0, 128.0]]])
    torch.testing.assert_close(RegionPool(32)(torch.full((1, 2, 4, 4), 2.5), boxes), torch.full((1, 2, 2), 2.5))


def test_stays_float32_inside_autocast():
    features = torch.randn(2, 8, 7, 7, requires_grad=True)
    boxes = torch.tensor([[[10.0, 20.0, 100.0, 200.0]]]).repeat(2, 1, 1)
    expected = RegionPool(32)(features, boxes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = RegionPool(32)(features, boxes)
        low = RegionPool(32)(features.bfloat16(), boxes)
    assert pooled.dtype == low.dtype == torch.float32
    torch.testing.assert_close(pooled, expected, atol=0, rtol=0)
    torch.testing.assert_close(low, RegionPool(32)(features.bfloat16().float(), boxes), atol=0, rtol=0)


def test_memory_format_and_gradcheck():
    features = torch.randn(2, 3, 5, 4, dtype=torch.float32)
    boxes = torch.tensor([[[8.0, 9.0, 70.0, 130.0]]]).repeat(2, 1, 1)
    pool = RegionPool(32)
    last = features.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(pool(last, boxes), pool(features, boxes), atol=1e-6, rtol=0)
    # Linear in the features: the difference of two outputs is the output of the difference, exactly enough in fp32.
    other = torch.randn_like(features)
    torch.testing.assert_close(
        pool(features, boxes) - pool(other, boxes), pool(features - other, boxes), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("arguments", [{"stride": 0}, {"stride": -32}, {"stride": 32, "sampling_ratio": 0}])
def test_bad_arguments(arguments):
    name = "sampling_ratio" if "sampling_ratio" in arguments else "stride"
    with pytest.raises(InputError, match=name):
        RegionPool(**arguments)
