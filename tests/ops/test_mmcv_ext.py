"""The operators served in place of mmcv's compiled ones, through mmcv.ops' public API, against references of our own."""
import importlib
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import mmsscl  # noqa: F401  (installs the finder)
from mmsscl.ops.mmcv_finder import ServedExtension

mmcv_ops = importlib.import_module("mmcv.ops")
extension = importlib.import_module("mmcv._ext")


@pytest.fixture(autouse=True)
def _served_only() -> None:
    if not isinstance(extension, ServedExtension):
        pytest.skip("mmcv brings its own compiled operators here: nothing is served")


def random_boxes(count: int, seed: int, extent: float = 60.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * extent
    size = torch.rand(count, 2, generator=generator) * extent / 2 + 1
    return torch.cat([corner, corner + size], dim=1)


def numpy_iou(one: NDArray, other: NDArray, offset: int) -> float:
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]) + offset)
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]) + offset)
    area = (one[2] - one[0] + offset) * (one[3] - one[1] + offset)
    return width * height / (area + (other[2] - other[0] + offset) * (other[3] - other[1] + offset) - width * height)


def numpy_nms(boxes: NDArray, scores: NDArray, threshold: float, offset: int) -> list[int]:
    kept: list[int] = []
    for index in np.argsort(-scores):
        if all(numpy_iou(boxes[index], boxes[other], offset) <= threshold for other in kept):
            kept.append(int(index))
    return kept


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_nms_equals_brute_force(threshold: float, offset: int) -> None:
    generator = torch.Generator().manual_seed(4)
    boxes = random_boxes(40, seed=3).repeat(3, 1) + torch.rand(120, 4, generator=generator) * 2  # three of each
    scores = torch.rand(120, generator=generator)
    dets, kept = mmcv_ops.nms(boxes, scores, threshold, offset=offset)
    expected = numpy_nms(boxes.double().numpy(), scores.numpy(), threshold, offset)
    assert kept.tolist() == expected
    assert 1 < len(expected) < 120
    torch.testing.assert_close(dets, torch.cat([boxes, scores[:, None]], dim=1)[expected])


def test_nms_offset_counts_a_pixel() -> None:
    # A box of zero width has area zero; counting pixels it covers one column.
    boxes = torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 2.0, 0.0]])
    scores = torch.tensor([0.9, 0.8])
    assert mmcv_ops.nms(boxes, scores, 0.5, offset=1)[1].tolist() == [0]  # IoU 2/3
    assert mmcv_ops.nms(boxes, scores, 0.7, offset=1)[1].tolist() == [0, 1]


def test_nms_score_threshold_limit_numpy_and_empty() -> None:
    boxes, scores = random_boxes(50, seed=5), torch.linspace(0.01, 0.99, 50)
    kept = mmcv_ops.nms(boxes.numpy(), scores.numpy(), 0.4, score_threshold=0.3, max_num=5)[1]
    high = [index for index in numpy_nms(boxes.numpy(), scores.numpy(), 0.4, 0) if scores[index] > 0.3]
    assert kept.tolist() == high[:5]
    empty = mmcv_ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert empty[0].shape == (0, 5)
    assert empty[1].tolist() == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_nms_other_precisions(dtype: torch.dtype) -> None:
    boxes = random_boxes(60, seed=6).to(dtype)
    scores = torch.randperm(60, generator=torch.Generator().manual_seed(7)).to(dtype) / 64  # exact in every dtype
    kept = mmcv_ops.nms(boxes, scores, 0.5)[1]
    assert kept.tolist() == numpy_nms(boxes.double().numpy(), scores.double().numpy(), 0.5, 0)


def test_batched_nms_keeps_classes_apart() -> None:
    boxes, scores = random_boxes(90, seed=8), torch.rand(90, generator=torch.Generator().manual_seed(9))
    classes = torch.arange(90) % 3
    dets, kept = mmcv_ops.batched_nms(boxes, scores, classes, {"type": "nms", "iou_threshold": 0.3})
    expected: list[int] = []
    for label in range(3):
        members = (classes == label).nonzero().squeeze(1).numpy()
        expected += [members[i] for i in numpy_nms(boxes.numpy()[members], scores.numpy()[members], 0.3, 0)]
    assert sorted(kept.tolist()) == sorted(expected)
    assert (dets[:-1, 4] >= dets[1:, 4]).all()


def numpy_soft_nms(
    boxes: NDArray, scores: NDArray, threshold: float, sigma: float, floor: float, method: str, offset: int
) -> list[tuple[int, float]]:
    left = {index: float(score) for index, score in enumerate(scores)}
    found = []
    while left:
        best = max(left, key=lambda index: left[index])
        found.append((best, left.pop(best)))
        for other in list(left):
            iou = numpy_iou(boxes[best], boxes[other], offset)
            if method == "gaussian":
                left[other] *= math.exp(-iou * iou / sigma)
            elif iou >= threshold:
                left[other] *= 1 - iou if method == "linear" else 0
            if left[other] < floor:
                del left[other]
    return found


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
def test_soft_nms_equals_brute_force(method: str, offset: int) -> None:
    boxes, scores = random_boxes(60, seed=10), torch.rand(60, generator=torch.Generator().manual_seed(11))
    dets, kept = mmcv_ops.soft_nms(
        boxes, scores, iou_threshold=0.3, sigma=0.4, min_score=0.05, method=method, offset=offset
    )
    expected = numpy_soft_nms(boxes.double().numpy(), scores.double().numpy(), 0.3, 0.4, 0.05, method, offset)
    assert kept.tolist() == [index for index, _ in expected]
    decayed = torch.tensor([score for _, score in expected], dtype=torch.float32)
    torch.testing.assert_close(dets[:, 4], decayed, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(dets[:, :4], boxes[kept])


def test_soft_nms_of_nothing() -> None:
    dets, kept = mmcv_ops.soft_nms(torch.zeros(0, 4), torch.zeros(0))
    assert dets.shape == (0, 5)
    assert kept.tolist() == []


def numpy_bilinear(plane: NDArray, y: float, x: float) -> float:
    """Sample with the border repeated for up to one pixel, zero beyond (as RoIAlign defines it)."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0.0), height - 1), min(max(x, 0.0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = y - top, x - left
    above = plane[top, left] * (1 - across) + plane[top, right] * across
    return above * (1 - down) + (plane[bottom, left] * (1 - across) + plane[bottom, right] * across) * down


def numpy_roi_align(
    features: NDArray, rois: NDArray, bins: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> NDArray:
    output = np.zeros((len(rois), features.shape[1], *bins))
    for index, roi in enumerate(rois):
        x1, y1, x2, y2 = roi[1:] * scale - (0.5 if aligned else 0.0)
        width, height = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1.0), max(y2 - y1, 1.0))
        down = ratio if ratio > 0 else math.ceil(height / bins[0])
        across = ratio if ratio > 0 else math.ceil(width / bins[1])
        for channel, row, column in np.ndindex(features.shape[1], *bins):
            total = 0.0
            for i, j in np.ndindex(down, across):
                y = y1 + (row + (i + 0.5) / down) * height / bins[0]
                x = x1 + (column + (j + 0.5) / across) * width / bins[1]
                total += numpy_bilinear(features[int(roi[0]), channel], y, x)
            output[index, channel, row, column] = total / max(down * across, 1)
    return output


ROIS = torch.tensor(
    [
        [0, 3.0, 2.0, 30.0, 21.0],
        [1, 0.0, 0.0, 47.5, 39.5],
        [0, -9.0, -6.0, 11.0, 60.0],  # sticks out on three sides
        [1, 20.3, 10.1, 20.9, 10.4],  # smaller than a feature pixel
        [1, 44.0, 30.0, 90.0, 80.0],
    ]
)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 1, 2])
@pytest.mark.parametrize("bins", [(1, 1), (3, 2)])
def test_roi_align_equals_numpy(bins: tuple[int, int], ratio: int, aligned: bool) -> None:
    features = torch.randn(2, 2, 10, 12, generator=torch.Generator().manual_seed(12))
    layer = mmcv_ops.RoIAlign(bins, spatial_scale=0.25, sampling_ratio=ratio, aligned=aligned)
    expected = numpy_roi_align(features.double().numpy(), ROIS.double().numpy(), bins, 0.25, ratio, aligned)
    torch.testing.assert_close(layer(features, ROIS), torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align_gradient(ratio: int, aligned: bool) -> None:
    features = torch.randn(2, 1, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(13))
    layer = mmcv_ops.RoIAlign((2, 2), spatial_scale=0.125, sampling_ratio=ratio, aligned=aligned)
    # torchvision adds gradients up in any order: equal to rounding only
    assert torch.autograd.gradcheck(
        lambda value: layer(value, ROIS.double()), features.requires_grad_(), nondet_tol=1e-9
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_roi_align_half_precision(dtype: torch.dtype) -> None:
    features = torch.randn(2, 3, 10, 12, generator=torch.Generator().manual_seed(14)).to(dtype)
    upstream = torch.randn(len(ROIS), 3, 4, 4, generator=torch.Generator().manual_seed(15)).to(dtype)
    layer = mmcv_ops.RoIAlign((4, 4), spatial_scale=0.25, sampling_ratio=2)
    rois = ROIS.to(dtype)
    results = []
    for precision in (dtype, torch.float32):  # of the same rounded inputs
        value = features.to(precision).clone().requires_grad_()
        output = layer(value, rois.to(precision))
        output.backward(upstream.to(precision))
        assert output.dtype == value.grad.dtype == precision
        results.append((output.detach().float(), value.grad.float()))
    eps = torch.finfo(dtype).eps
    for half, exact in zip(*results):
        torch.testing.assert_close(half, exact, rtol=eps, atol=eps / 8)


def test_roi_align_under_autocast() -> None:
    features = torch.randn(2, 3, 10, 12, generator=torch.Generator().manual_seed(16)).requires_grad_()
    layer = mmcv_ops.RoIAlign((2, 2), spatial_scale=0.25, sampling_ratio=2)
    expected = layer(features, ROIS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = layer(features, ROIS)
    torch.testing.assert_close(output, expected, rtol=0, atol=0)
    output.sum().backward()
    assert torch.isfinite(features.grad).all()


def test_roi_align_of_no_boxes() -> None:
    features = torch.randn(1, 2, 4, 4, requires_grad=True)
    output = mmcv_ops.RoIAlign((2, 2))(features, torch.zeros(0, 5))
    assert output.shape == (0, 2, 2, 2)
    output.sum().backward()
    assert features.grad.abs().sum() == 0


def test_roi_align_max_mode_says_what_to_do() -> None:
    layer = mmcv_ops.RoIAlign((2, 2), pool_mode="max")
    with pytest.raises(NotImplementedError, match="pool_mode='avg'"):
        layer(torch.zeros(1, 1, 4, 4), torch.tensor([[0, 0.0, 0.0, 2.0, 2.0]]))


def focal_loss_by_definition(
    logits: torch.Tensor, target: torch.Tensor, gamma: float, alpha: float, weight: torch.Tensor | None
) -> torch.Tensor:
    """Focal loss entry by entry, in Python floats where no gradient is needed: -alpha_t (1 - p_t)^gamma log(p_t)."""
    rows = []
    for row, label in zip(logits, target.tolist()):
        entries = []
        for column, logit in enumerate(row):
            p = 1 / (1 + torch.exp(-logit))
            p_t, alpha_t = (p, alpha) if column == label else (1 - p, 1 - alpha)
            scale = 1.0 if weight is None or not 0 <= label < len(row) else weight[label]
            entries.append(-scale * alpha_t * (1 - p_t) ** gamma * torch.log(p_t))
        rows.append(torch.stack(entries))
    return torch.stack(rows)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.0, 0.5), (1.5, 0.9)])
def test_sigmoid_focal_loss_equals_its_definition(gamma: float, alpha: float, weighted: bool) -> None:
    generator = torch.Generator().manual_seed(17)
    logits = (torch.randn(12, 4, generator=generator, dtype=torch.float64) * 3).requires_grad_()
    target = torch.randint(0, 5, (12,), generator=generator)  # 4 is background
    target[0] = 4
    weight = torch.rand(4, generator=generator, dtype=torch.float64) if weighted else None
    expected = focal_loss_by_definition(logits, target, gamma, alpha, weight)
    (gradient,) = torch.autograd.grad(expected.sum(), logits)

    direct, empty = torch.full_like(logits, 7.0), logits.new_empty(0)
    extension.sigmoid_focal_loss_forward(
        logits.detach(), target, empty if weight is None else weight, direct, gamma=gamma, alpha=alpha
    )
    torch.testing.assert_close(direct, expected.detach())
    by_logit = torch.full_like(logits, 7.0)
    extension.sigmoid_focal_loss_backward(
        logits.detach(), target, empty if weight is None else weight, by_logit, gamma=gamma, alpha=alpha
    )
    torch.testing.assert_close(by_logit, gradient)

    loss = mmcv_ops.sigmoid_focal_loss(logits, target, gamma, alpha, weight, "mean")
    torch.testing.assert_close(loss, expected.sum() / 12)
    torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], gradient / 12)


def test_sigmoid_focal_loss_gradcheck() -> None:
    logits = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(18)).requires_grad_()
    target = torch.tensor([0, 1, 2, 3, -1])
    assert torch.autograd.gradcheck(
        lambda value: mmcv_ops.sigmoid_focal_loss(value, target, 2.0, 0.25, None, "sum"), logits
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sigmoid_focal_loss_is_finite_far_out(dtype: torch.dtype) -> None:
    logits = torch.tensor([[200.0, -200.0], [-60.0, 60.0]], dtype=dtype).requires_grad_()
    loss = mmcv_ops.sigmoid_focal_loss(logits, torch.tensor([1, 0]), 2.0, 0.25, None, "sum")
    loss.backward()
    # wrong by 200, 200, 60 and 60: the loss grows linearly, its slope is alpha or 1 - alpha
    torch.testing.assert_close(loss.float(), torch.tensor(0.75 * 260 + 0.25 * 260), rtol=1e-2, atol=0)
    expected = torch.tensor([[0.75, -0.25], [-0.25, 0.75]])
    torch.testing.assert_close(logits.grad.float(), expected, rtol=1e-2, atol=1e-3)
    assert loss.dtype == dtype


def test_environment_report_names_the_source() -> None:
    assert "torchvision" in mmcv_ops.get_compiler_version()
    assert isinstance(mmcv_ops.get_compiling_cuda_version(), str)


def test_an_unserved_operator_raises_when_called_not_when_looked_up() -> None:
    operator = extension.contour_expand
    assert not hasattr(extension, "__wrapped__")
    with pytest.raises(NotImplementedError, match=r"'contour_expand'.*roi_align_forward.*--no-build-isolation"):
        operator(1, kernel_num=2)
