"""Deformable operators of ``mmcv._ext``: attention in plain PyTorch, convolutions from torchvision's kernels.

Same conventions as :mod:`mmsscl.ops.mmcv_ext`, which lists them.
"""
import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)
from torch import Tensor

from mmsscl.ops.precision import as_exact

_KERNELS = torch.ops.torchvision


def _attend(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    # Plain integers: mmcv's loop over a CUDA tensor would wait for the device at every use of a size.
    return multi_scale_deformable_attn_pytorch(value, shapes.tolist(), locations, weights)


def ms_deform_attn_forward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Multi-scale deformable attention (Zhu et al., ICLR 2021), by mmcv's PyTorch version.

    Args:
        value: (B, sum of H*W, heads, D).
        spatial_shapes: (levels, 2) int64 ``H, W``.
        level_start_index: unused (follows from the shapes).
        sampling_locations: (B, Q, heads, levels, points, 2) ``x, y`` in 0..1.
        attention_weights: (B, Q, heads, levels, points).
        im2col_step: unused (memory knob of the fused kernel).

    Returns:
        (B, Q, heads * D) in the dtype of ``value``.
    """
    exact = as_exact(value, sampling_locations, attention_weights)
    return _attend(exact[0], spatial_shapes, exact[1], exact[2]).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Gradients of :func:`ms_deform_attn_forward`, written into the three ``grad_`` tensors."""
    exact = as_exact(value, sampling_locations, attention_weights)
    with torch.enable_grad():
        inputs = [tensor.detach().requires_grad_() for tensor in exact]
        attended = _attend(inputs[0], spatial_shapes, inputs[1], inputs[2])
        gradients = torch.autograd.grad(attended, inputs, grad_output.to(attended.dtype))
    for destination, gradient in zip((grad_value, grad_sampling_loc, grad_attn_weight), gradients):
        destination.copy_(gradient)


def _without_mask(input: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The mask and bias that torchvision's kernel takes where there are none."""
    return input.new_zeros((input.shape[0], 1)), input.new_zeros(weight.shape[0])


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Deformable convolution (Dai et al., ICCV 2017), written into ``output`` (N, out, H', W').

    Args:
        input: (N, in, H, W).
        weight: (out, in / group, kH, kW).
        offset: (N, 2 * deformable_group * kH * kW, H', W'), ``dy, dx`` per kernel tap.
        output: written in place.
        columns: unused (workspace of mmcv's kernel).
        ones: unused (workspace of mmcv's kernel).
        kW: kernel width; like ``kH`` it follows from the weight.
        kH: kernel height.
        dW: stride across.
        dH: stride down.
        padW: zero padding left and right.
        padH: zero padding above and below.
        dilationW: dilation across.
        dilationH: dilation down.
        group: groups of the convolution.
        deformable_group: groups of input channels with offsets of their own.
        im2col_step: unused (memory knob of mmcv's kernel).
    """
    features, kernel, shift = as_exact(input, weight, offset)
    mask, bias = _without_mask(features, kernel)
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    output.copy_(_KERNELS.deform_conv2d(features, kernel, shift, mask, bias, *geometry, False))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Gradients of :func:`deform_conv_forward` by input and offset, written in place."""
    features, kernel, shift, gradient = as_exact(input, weight, offset, grad_output)
    mask, bias = _without_mask(features, kernel)
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    gradients = _KERNELS._deform_conv2d_backward(gradient, features, kernel, shift, mask, bias, *geometry, False)
    grad_input.copy_(gradients[0])
    grad_offset.copy_(gradients[2])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Gradient of :func:`deform_conv_forward` by the weight, times ``scale``, added to ``grad_weight``."""
    features, kernel, shift, gradient = as_exact(input, grad_weight, offset, grad_output)
    # The gradient by the weight does not depend on the weight: its own (zero) buffer gives the shape.
    mask, bias = _without_mask(features, kernel)
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    gradients = _KERNELS._deform_conv2d_backward(gradient, features, kernel, shift, mask, bias, *geometry, False)
    grad_weight.add_(gradients[1].to(grad_weight.dtype), alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Modulated deformable convolution (Zhu et al., CVPR 2019), written into ``output``.

    As :func:`deform_conv_forward`, with ``mask`` (N, deformable_group * kernel_h * kernel_w, H', W') scaling each
    tap, and ``bias`` (out,) where ``with_bias``.
    """
    features, kernel, shift, scale = as_exact(input, weight, offset, mask)
    constant = bias.to(features) if with_bias else features.new_zeros(weight.shape[0])
    geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    output.copy_(_KERNELS.deform_conv2d(features, kernel, shift, scale, constant, *geometry, True))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Gradients of :func:`modulated_deform_conv_forward`, written in place (``grad_bias`` where ``with_bias``)."""
    features, kernel, shift, scale, gradient = as_exact(input, weight, offset, mask, grad_output)
    constant = bias.to(features) if with_bias else features.new_zeros(weight.shape[0])
    geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    gradients = _KERNELS._deform_conv2d_backward(
        gradient, features, kernel, shift, scale, constant, *geometry, True
    )
    destinations = [grad_input, grad_weight, grad_offset, grad_mask] + ([grad_bias] if with_bias else [])
    for destination, value in zip(destinations, gradients):
        destination.copy_(value)
