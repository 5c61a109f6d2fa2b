"""Image vectors: mean over the map, then a projector."""
from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor

from mmsscl.models.layers import ProjectionMLP
from mmsscl.registry import MODELS


@MODELS.register_module()
class GlobalNeck(BaseModule):
    """Average the last feature map and project it: one vector an image, in the same shape as a box's.

    BYOL's projector (Grill et al., 2020, section 3.3).

    Args:
        in_channels: Channels of the last feature map (512 for ResNet-18/34, 2048 for ResNet-50/101).
        hidden_channels: Width of the projector's hidden layer.
        out_channels: Width of the projections.
        norm_cfg: Norm of the projector, default: SyncBN, on a machine without a GPU BN.
        init_cfg: mmengine's initialisation config; ``None`` keeps torch's defaults.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int = 4096,
        out_channels: int = 256,
        norm_cfg: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.projector = ProjectionMLP(in_channels, hidden_channels, out_channels, norm_cfg)

    def forward(self, features: Sequence[Tensor] | Tensor, boxes: Tensor | None = None) -> Tensor:
        """Project.

        Args:
            features: Feature maps, the last of which (N, C, h, w) is used; or that map alone.
            boxes: Ignored; taken so that all necks are called alike.

        Returns:
            (N, 1, out_channels).
        """
        last = features if isinstance(features, Tensor) else features[-1]
        vectors: Tensor = self.projector(last.mean((2, 3)))
        return vectors.unsqueeze(1)
