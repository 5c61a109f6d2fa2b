"""RoIAlign over an FPN with exact boxes under mixed precision."""
from collections.abc import Sequence

import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor

from mmsscl.registry import MODELS


@MODELS.register_module()
class Float32RoIExtractor(SingleRoIExtractor):
    """mmdet's ``SingleRoIExtractor`` in float32, whatever autocast makes of the feature maps.

    mmdet casts the boxes to the type of the features. In bfloat16 a coordinate near 1000 px then moves by up to 4 px,
    and mmcv's compiled RoIAlign has no bfloat16 kernel at all. Arguments are those of ``SingleRoIExtractor``.

    Example:
        >>> roi_head = dict(bbox_roi_extractor=dict(type="mmsscl.Float32RoIExtractor"))
    """

    def forward(self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None) -> Tensor:
        """Pool regions.

        Args:
            feats: feature maps (N, C, h, w) of the levels, of any float type.
            rois: (n, 5): image index and xyxy in image pixels.
            roi_scale_factor: enlarges the boxes around their centres.

        Returns:
            (n, C, *output_size) float32.
        """
        with torch.autocast(device_type=rois.device.type, enabled=False):
            pooled: Tensor = super().forward(tuple(level.float() for level in feats), rois.float(), roi_scale_factor)
        return pooled
