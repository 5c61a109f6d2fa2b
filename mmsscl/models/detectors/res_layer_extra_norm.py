"""The last ResNet stage as a box head, with a batch norm behind it."""
from typing import Any

from mmcv.cnn import build_norm_layer
from mmdet.models.backbones import ResNet
from mmdet.models.roi_heads.shared_heads import ResLayer
from torch import Tensor

from mmsscl.registry import MODELS


@MODELS.register_module()
class ResLayerExtraNorm(ResLayer):
    """mmdet's ``ResLayer`` (``layer4`` of a ResNet on pooled regions) followed by one more normalisation.

    A self-supervised backbone's last stage puts out features of another scale than a supervised one's; the extra layer
    evens that out. MoCo (He et al., CVPR 2020, section 4.2) fine-tunes its C4 detectors so.

    Args:
        depth: Of the ResNet: 18, 34, 50, 101 or 152.
        norm_cfg: Of the stage and of the extra layer.
        **kwargs: As of ``ResLayer``.

    Example:
        >>> shared_head = dict(type="mmsscl.ResLayerExtraNorm", depth=50, norm_cfg=dict(type="SyncBN"), norm_eval=False)
    """

    def __init__(self, depth: int, norm_cfg: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(depth, norm_cfg=norm_cfg, **kwargs)
        channels = 64 * 2**self.stage * ResNet.arch_settings[depth][0].expansion
        self.norm = build_norm_layer(norm_cfg, channels)[1]

    def forward(self, x: Tensor) -> Tensor:
        """Run the stage.

        Args:
            x: (n, C, h, w) pooled regions.

        Returns:
            (n, 2 C, ceil(h / stride), ceil(w / stride)).
        """
        normalised: Tensor = self.norm(super().forward(x))
        return normalised
