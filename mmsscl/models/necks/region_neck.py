"""Box vectors: pool each box from the map, then a projector."""
from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor

from mmsscl.models.layers import ProjectionMLP, RegionPool
from mmsscl.registry import MODELS


@MODELS.register_module()
class RegionNeck(BaseModule):
    """Pool every box of a view from the last feature map and project it (SCRL, section 3.2).

    Boxes are clipped to the view (the area the map covers) first. All boxes, valid or not, pass the projector and its
    norm, so that shapes are fixed; the head masks the loss.

    Args:
        in_channels: Channels of the last feature map (512 for ResNet-18/34, 2048 for ResNet-50/101).
        hidden_channels: Width of the projector's hidden layer.
        out_channels: Width of the projections.
        stride: View pixels a feature cell: 32 for a plain ResNet, 16 with ``strides=(1, 2, 2, 1)``.
        aligned: RoIAlign's half-pixel shift; SCRL's code has it off.
        sampling_ratio: RoIAlign's samples an axis; -1: adaptive.
        norm_cfg: Norm of the projector, default: SyncBN, on a machine without a GPU BN.
        init_cfg: mmengine's initialisation config; ``None`` keeps torch's defaults.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int = 4096,
        out_channels: int = 256,
        stride: int = 32,
        aligned: bool = False,
        sampling_ratio: int = -1,
        norm_cfg: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.pool = RegionPool(stride, aligned, sampling_ratio)
        self.projector = ProjectionMLP(in_channels, hidden_channels, out_channels, norm_cfg)

    def forward(self, features: Sequence[Tensor] | Tensor, boxes: Tensor) -> Tensor:
        """Pool and project.

        Args:
            features: Feature maps, the last of which (N, C, h, w) is used; or that map alone.
            boxes: (N, K, 4) xyxy in view pixels.

        Returns:
            (N, K, out_channels).
        """
        last = features if isinstance(features, Tensor) else features[-1]
        regions: Tensor = self.pool(last, boxes)
        vectors: Tensor = self.projector(regions.flatten(0, 1))
        return vectors.unflatten(0, (regions.shape[0], regions.shape[1]))
