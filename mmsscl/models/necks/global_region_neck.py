"""The whole view and its boxes through one projector."""
from collections.abc import Sequence

import torch
from torch import Tensor

from mmsscl.registry import MODELS

from .region_neck import RegionNeck


@MODELS.register_module()
class GlobalRegionNeck(RegionNeck):
    """Project the mean of the last feature map and every box, by one shared projector.

    One projector for views and boxes, as in ORL (Xie et al., NeurIPS 2021, section 3.3). All rows pass it in one
    batch, so its norm sees views and boxes together. Arguments: see :class:`RegionNeck`; the weights of both are
    initialised alike.

    Example:
        >>> neck = GlobalRegionNeck(in_channels=512, norm_cfg=dict(type="BN"))
        >>> neck(torch.rand(2, 512, 7, 7), torch.tensor([[[0., 0., 64., 96.]] * 5] * 2)).shape
        torch.Size([2, 6, 256])
    """

    def forward(self, features: Sequence[Tensor] | Tensor, boxes: Tensor | None = None) -> Tensor:
        """Pool and project.

        Args:
            features: Feature maps, the last of which (N, C, h, w) is used; or that map alone.
            boxes: (N, K, 4) xyxy in view pixels; ``None``: the whole view alone.

        Returns:
            (N, 1 + K, out_channels), the whole view first; (N, 1, out_channels) without boxes.
        """
        last = features if isinstance(features, Tensor) else features[-1]
        rows = last.float().mean((2, 3)).unsqueeze(1)
        if boxes is not None:
            rows = torch.cat([rows, self.pool(last, boxes)], dim=1)
        vectors: Tensor = self.projector(rows.flatten(0, 1))
        return vectors.unflatten(0, (rows.shape[0], rows.shape[1]))
