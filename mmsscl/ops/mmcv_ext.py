"""The operators of ``mmcv._ext`` that detectors need, from torchvision's prebuilt kernels and plain PyTorch.

The functions keep mmcv's calling convention (results written in place into tensors the caller allocated, scalars by
keyword), so that mmcv's Python layer works unchanged on the CPU and on CUDA. Half precision is computed in float32
and rounded once at the end; float64 stays float64. :mod:`mmsscl.ops.mmcv_finder` puts them in place.

Deviations from the compiled extension: RoIAlign has no max mode; the focal loss uses ``logsigmoid`` where mmcv clamps
``log(p)`` at the smallest normal number, so beyond |logit| = 87 it keeps growing; a class weight counts for
foreground targets only (mmcv reads past the end of the weight for the background label); what torchvision has no
kernel for (focal loss, deformable attention) needs a few times the memory of a fused kernel.
"""
from collections.abc import Callable
from typing import Any

import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)
from torch import Tensor
from torch.nn.functional import logsigmoid

from mmsscl.ops import mmcv_deform
from mmsscl.ops.precision import as_exact

_KERNELS = torch.ops.torchvision


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,).
        iou_threshold: a box goes when its IoU with a kept one of higher score is greater.
        offset: 0, or 1 where a box of width ``x2 - x1`` covers ``x2 - x1 + 1`` pixels.

    Returns:
        (M,) int64 indices of the kept boxes, by falling score.
    """
    boxes, scores = as_exact(boxes, scores)
    if offset:
        # x2 - x1 + 1 == (x2 + 1) - x1, in areas and intersections alike.
        boxes = boxes + boxes.new_tensor([0.0, 0.0, offset, offset])
    return _KERNELS.nms(boxes, scores, iou_threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS (Bodla et al., ICCV 2017): overlapping boxes lose score instead of going at once.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,).
        dets: (N, 5), written in place: the first M rows become ``x1, y1, x2, y2, decayed score``.
        iou_threshold: overlaps below it leave the score alone (methods 0 and 1).
        sigma: width of the Gaussian (method 2).
        min_score: a box whose decayed score falls below it goes.
        method: 0 hard, 1 linear (``1 - IoU``), 2 Gaussian (``exp(-IoU^2 / sigma)``).
        offset: see :func:`nms`.

    Returns:
        (M,) int64 indices in the order of ``dets``.
    """
    if method not in (0, 1, 2):
        raise NotImplementedError(f"softnms: method {method!r} is unknown (0 hard, 1 linear, 2 gaussian)")
    boxes, scores = as_exact(boxes, scores)
    areas = (boxes[:, 2:] - boxes[:, :2] + offset).prod(dim=1)
    alive = torch.arange(len(boxes), device=boxes.device)
    kept: list[Tensor] = []
    while len(alive):
        best = scores[alive].argmax()
        pick = alive[best]
        dets[len(kept)] = torch.cat([boxes[pick], scores[pick, None]]).to(dets)
        kept.append(pick)
        alive = torch.cat([alive[:best], alive[best + 1 :]])
        top_left = torch.maximum(boxes[pick, :2], boxes[alive, :2])
        bottom_right = torch.minimum(boxes[pick, 2:], boxes[alive, 2:])
        overlap = (bottom_right - top_left + offset).clamp(min=0).prod(dim=1)
        iou = overlap / (areas[pick] + areas[alive] - overlap)
        if method == 2:
            weight = torch.exp(-(iou**2) / sigma)
        else:
            weight = torch.where(iou >= iou_threshold, (1 - iou) * method, torch.ones_like(iou))
        scores = scores.index_copy(0, alive, scores[alive] * weight)
        alive = alive[scores[alive] >= min_score]
    return torch.stack(kept) if kept else alive


def _require_average(pool_mode: int) -> None:
    if pool_mode != 1:
        raise NotImplementedError(
            "RoIAlign with pool_mode='max' needs mmcv's compiled extension, and torchvision serves the average only. "
            "Use pool_mode='avg', or compile mmcv (pip install --no-build-isolation onedl-mmcv)."
        )


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign (He et al., ICCV 2017) with average pooling.

    Args:
        input: (N, C, H, W) features.
        rois: (R, 5) ``batch index, x1, y1, x2, y2`` in input-image pixels.
        output: (R, C, aligned_height, aligned_width), written in place.
        argmax_y: unused (max mode).
        argmax_x: unused (max mode).
        aligned_height: bins down.
        aligned_width: bins across.
        spatial_scale: feature pixels per image pixel.
        sampling_ratio: samples per bin and axis; 0 for as many as feature pixels.
        pool_mode: 1 (average).
        aligned: subtract half a feature pixel, so that pixel centres are at integers plus one half.

    Raises:
        NotImplementedError: for max pooling.
    """
    _require_average(pool_mode)
    features, boxes = as_exact(input, rois)
    output.copy_(
        _KERNELS.roi_align(features, boxes, spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned)
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Gradient of :func:`roi_align_forward` by the features, written into ``grad_input`` (N, C, H, W)."""
    _require_average(pool_mode)
    gradient, boxes = as_exact(grad_output, rois)
    grad_input.copy_(
        _KERNELS._roi_align_backward(
            gradient,
            boxes,
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )


def _focal_parts(input: Tensor, target: Tensor, weight: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, the mask of positives and each entry's factor (alpha or 1 - alpha, times the class weight)."""
    logits = as_exact(input)[0]
    classes = logits.shape[1]
    positive = target[:, None] == torch.arange(classes, device=logits.device)
    factor = torch.where(positive, alpha, 1.0 - alpha).to(logits)
    if weight.numel():
        foreground = (target >= 0) & (target < classes)
        per_sample = weight.to(logits)[target.clamp(0, classes - 1)].where(foreground, logits.new_ones(()))
        factor = factor * per_sample[:, None]
    return logits, positive, factor


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Focal loss (Lin et al., ICCV 2017, eq. 5) per logit.

    Args:
        input: (N, C) logits.
        target: (N,) int64 class of each row; any value outside ``0..C-1`` is background (all negatives).
        weight: (C,) per class, or empty.
        output: (N, C), written in place: ``-alpha_t (1 - p_t)^gamma log(p_t)``.
        gamma: focusing exponent, >= 0.
        alpha: weight of positives, 0..1.
    """
    logits, positive, factor = _focal_parts(input, target, weight, alpha)
    margin = torch.where(positive, logits, -logits)  # p_t = sigmoid(margin)
    output.copy_(-factor * torch.sigmoid(-margin) ** gamma * logsigmoid(margin))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Derivative of each entry of :func:`sigmoid_focal_loss_forward` by its logit, written into ``grad_input``."""
    logits, positive, factor = _focal_parts(input, target, weight, alpha)
    margin = torch.where(positive, logits, -logits)
    miss = torch.sigmoid(-margin)  # 1 - p_t
    by_margin = factor * miss**gamma * (gamma * (1 - miss) * logsigmoid(margin) - miss)
    grad_input.copy_(torch.where(positive, by_margin, -by_margin))


def get_compiler_version() -> str:
    """What mmcv's environment report shows for the compiler of its operators."""
    return "none: operators served by mmsscl from torchvision"


def get_compiling_cuda_version() -> str:
    """CUDA version of the operators: that of torch, which torchvision's kernels share."""
    return torch.version.cuda or "not available"


SERVED: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        nms,
        softnms,
        roi_align_forward,
        roi_align_backward,
        sigmoid_focal_loss_forward,
        sigmoid_focal_loss_backward,
        mmcv_deform.ms_deform_attn_forward,
        mmcv_deform.ms_deform_attn_backward,
        mmcv_deform.deform_conv_forward,
        mmcv_deform.deform_conv_backward_input,
        mmcv_deform.deform_conv_backward_parameters,
        mmcv_deform.modulated_deform_conv_forward,
        mmcv_deform.modulated_deform_conv_backward,
        get_compiler_version,
        get_compiling_cuda_version,
    )
}
