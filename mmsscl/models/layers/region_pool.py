"""RoIAlign to one cell, as two small dense matrices a box."""
import torch
from torch import Tensor, nn

from mmsscl.errors import InputError


class RegionPool(nn.Module):
    """One feature vector a box: RoIAlign (He et al., 2017, section 3) with a 1x1 output, in plain torch.

    The mean over a box's bilinear samples is separable: ``out = wy^T F wx`` with one weight a row and one a column, so
    all boxes of an image cost one matrix product. The result equals ``torchvision.ops.roi_align(output_size=1)`` on
    the clipped boxes, with any sampling ratio, and its gradient with respect to the features; there is no gradient
    with respect to the boxes. Deterministic on every device, no device sync, shapes depend on shapes only, always
    computed in float32 (autocast is switched off inside).

    Boxes are clipped to the area that the feature map covers, ``[0, w * stride] x [0, h * stride]``, first. As in
    torchvision, a box that has no area there (``aligned=True``) pools to zero.

    Args:
        stride: Image pixels a feature cell.
        aligned: Shift by half a pixel (the corrected RoIAlign). ``False`` is what SCRL uses: no shift, and a box
            counts as at least one cell wide and high.
        sampling_ratio: Samples an axis; -1: adaptive, ``ceil`` of the box side in cells.

    Raises:
        InputError: A stride that is not positive, or a sampling ratio that is neither -1 nor positive.

    Example:
        >>> pool = RegionPool(stride=32)
        >>> pool(torch.rand(2, 512, 7, 7), torch.tensor([[[0., 0., 64., 96.]]]).repeat(2, 1, 1)).shape
        torch.Size([2, 1, 512])
    """

    def __init__(self, stride: int, aligned: bool = False, sampling_ratio: int = -1) -> None:
        super().__init__()
        if stride <= 0:
            raise InputError(f"RegionPool: stride={stride!r} must be positive (32 for a plain ResNet's layer4).")
        if sampling_ratio != -1 and sampling_ratio < 1:
            raise InputError(f"RegionPool: sampling_ratio={sampling_ratio!r} must be -1 (adaptive) or at least 1.")
        self.stride = stride
        self.aligned = aligned
        self.sampling_ratio = sampling_ratio

    def extra_repr(self) -> str:
        return f"stride={self.stride}, aligned={self.aligned}, sampling_ratio={self.sampling_ratio}"

    def forward(self, features: Tensor, boxes: Tensor) -> Tensor:
        """Pool.

        Args:
            features: (N, C, h, w), any float type, any memory format.
            boxes: (N, K, 4), xyxy in image pixels.

        Returns:
            (N, K, C) float32.
        """
        height, width = features.shape[-2:]
        with torch.autocast(device_type=features.device.type, enabled=False):
            boxes = boxes.detach().float()
            weight_x = self._axis_weights(boxes[..., 0], boxes[..., 2], width)
            weight_y = self._axis_weights(boxes[..., 1], boxes[..., 3], height)
            weights = (weight_y.unsqueeze(-1) * weight_x.unsqueeze(-2)).flatten(2)
            return torch.bmm(weights, features.float().flatten(2).transpose(1, 2))

    def _axis_weights(self, start: Tensor, end: Tensor, size: int) -> Tensor:
        """Weight (N, K, size) of each feature row (or column): the mean of the samples' bilinear hats."""
        limit = float(size * self.stride)
        offset = 0.5 if self.aligned else 0.0
        start = start.clamp(0.0, limit) * (1.0 / self.stride) - offset
        length = end.clamp(0.0, limit) * (1.0 / self.stride) - offset - start
        if not self.aligned:
            length = length.clamp(min=1.0)

        if self.sampling_ratio > 0:
            most = self.sampling_ratio
            count = torch.full_like(length, float(most))
        else:
            # A clipped box is at most `size` cells long; one more for a stride whose inverse rounds up.
            most = size + 1
            count = length.ceil().clamp(min=0.0)
        order = torch.arange(most, device=start.device, dtype=torch.float32)
        step = (length / count.clamp(min=1.0)).unsqueeze(-1)
        position = start.unsqueeze(-1) + (order + 0.5) * step
        counted = (order < count.unsqueeze(-1)) & (position >= -1.0) & (position <= size)

        # torchvision clamps to the map: outside it by less than a cell, a sample takes the border value.
        position = position.clamp(0.0, size - 1.0).unsqueeze(-1)
        cells = torch.arange(size, device=start.device, dtype=torch.float32)
        hats = (1.0 - (position - cells).abs()).clamp(min=0.0) * counted.unsqueeze(-1)
        return hats.sum(-2) / count.clamp(min=1.0).unsqueeze(-1)
