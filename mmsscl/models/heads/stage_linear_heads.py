"""Linear classifiers after each stage of a backbone, trained together."""
from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional

from mmsscl.errors import InputError
from mmsscl.registry import MODELS

POOLS = ((16, 8), (13, 5), (8, 3), (6, 1))
"""Kernel and stride of the average pooling after each stage of a ResNet at 224 px: some 9,000 numbers each."""


@MODELS.register_module()
class StageLinearHeads(BaseModule):
    """One linear classifier a stage on pooled maps, for a frozen backbone: the probes of Goyal et al. and of ORL.

    Each stage's map is averaged in overlapping squares (``POOLS``; 9216, 8192, 9216 and 8192 numbers in a ResNet-50 at
    224 px), normalised by a norm without parameters, and classified. The probes share nothing, so their losses are added.

    Source: MultiClsHead of OpenSelfSup as r50_multihead_28ep.py of ORL's release uses it; the protocol is that of Goyal et
    al., Scaling and Benchmarking Self-Supervised Visual Representation Learning (ICCV 2019).

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the four stages' maps.
        image_size: Side of the photos in pixels, a multiple of 32 from 192; the maps' sides follow.
        norm_cfg: Of the norms; they have no parameters whatever it says.

    Raises:
        InputError: A value outside its range; in training: maps of another size.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: Sequence[int] = (256, 512, 1024, 2048),
        image_size: int = 224,
        norm_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg=dict(type="Normal", layer="Linear", std=0.01))
        if num_classes < 2 or len(in_channels) != len(POOLS) or image_size < 192 or image_size % 32:
            raise InputError(
                f"StageLinearHeads: num_classes={num_classes}, in_channels={tuple(in_channels)}, image_size={image_size}; "
                "give two classes or more, four numbers of channels, and a multiple of 32 from 192."
            )
        self.num_classes, self.image_size = num_classes, image_size
        self.sides = [image_size // stride for stride in (4, 8, 16, 32)]
        norm = {"type": "SyncBN", "momentum": 0.1, **(norm_cfg or {}), "affine": False}
        self.pools = nn.ModuleList(nn.AvgPool2d(kernel, stride) for kernel, stride in POOLS)
        self.norms = nn.ModuleList(build_norm_layer(norm, channels)[1] for channels in in_channels)
        cells = [((side - kernel) // stride + 1) ** 2 for side, (kernel, stride) in zip(self.sides, POOLS)]
        self.layers = nn.ModuleList(
            nn.Linear(channels * cell, num_classes) for channels, cell in zip(in_channels, cells)
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Scores of each stage.

        Args:
            features: (N, C, h, w) of each stage.

        Returns:
            (stages, N, num_classes).
        """
        sides = [feature.shape[-1] for feature in features]
        if sides != self.sides:
            raise InputError(
                f"StageLinearHeads: the stages' maps have sides {sides}; photos of {self.image_size} px give {self.sides}. "
                "Set image_size to the crops' size, and out_indices=(0, 1, 2, 3) of the backbone."
            )
        parts = zip(self.pools, self.norms, self.layers, features)
        return torch.stack([layer(norm(pool(feature)).flatten(1)) for pool, norm, layer, feature in parts])

    def loss(self, feats: Sequence[Tensor], data_samples: list[Any], **kwargs: Any) -> dict[str, Tensor]:
        """Cross-entropy of each stage, ``loss_stage1`` to ``loss_stage4``; the sum is trained."""
        target = torch.cat([sample.gt_label for sample in data_samples])
        return {
            f"loss_stage{number}": functional.cross_entropy(scores, target)
            for number, scores in enumerate(self(feats), 1)
        }

    def predict(self, feats: Sequence[Tensor], data_samples: list[Any]) -> list[Any]:
        """Put ``stage_scores``, float32 (stages, num_classes), probabilities, into each sample."""
        for sample, scores in zip(data_samples, self(feats).softmax(2).unbind(1)):
            sample.set_field(scores, "stage_scores")
        return data_samples
