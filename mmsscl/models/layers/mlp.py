"""The two-layer perceptron that projectors and predictors share."""
from typing import Any

import torch
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmsscl.errors import InputError


class ProjectionMLP(nn.Module):
    """Linear (bias), norm, ReLU, Linear (no bias): BYOL's projector and predictor (Grill et al., 2020, section 3.3).

    There is no norm on the output. Two-dimensional input only: callers flatten boxes into rows.

    Args:
        in_channels: Input width.
        hidden_channels: Width between the two layers.
        out_channels: Output width.
        norm_cfg: mmcv norm config; "BN" means ``BatchNorm1d`` here. Default: SyncBN where there is a GPU (mmengine's
            Runner turns it into plain BatchNorm where training is not distributed), else BN.

    Raises:
        InputError: A width below 1.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int = 4096,
        out_channels: int = 256,
        norm_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        for name, value in (
            ("in_channels", in_channels), ("hidden_channels", hidden_channels), ("out_channels", out_channels)
        ):
            if value < 1:
                raise InputError(f"ProjectionMLP: {name}={value!r} must be at least 1.")
        self.linear1 = nn.Linear(in_channels, hidden_channels)
        self.norm = build_row_norm(norm_cfg, hidden_channels)
        self.activation = nn.ReLU(inplace=True)
        self.linear2 = nn.Linear(hidden_channels, out_channels, bias=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Map rows (M, in_channels) to (M, out_channels).

        Raises:
            InputError: Rows of another width.
        """
        if rows.shape[-1] != self.linear1.in_features:
            raise InputError(
                f"ProjectionMLP: in_channels={self.linear1.in_features}, but it is given {rows.shape[-1]} channels. "
                "Set in_channels of the neck to those of the backbone's last stage (512 for ResNet-18/34, 2048 for "
                "ResNet-50/101), and the head's to out_channels of the neck."
            )
        out: Tensor = self.linear2(self.activation(self.norm(self.linear1(rows))))
        return out


def build_row_norm(norm_cfg: dict[str, Any] | None, channels: int) -> nn.Module:
    """Build a norm layer for (M, channels) rows; mmcv's "BN" would be ``BatchNorm2d``, which refuses rows.

    Args:
        norm_cfg: mmcv norm config; ``None``: ``dict(type="SyncBN")`` on a machine with a GPU, else
            ``dict(type="BN")``, since torch's synchronised one raises on a CPU. Both have the same parameters.
        channels: Number of channels.

    Returns:
        The layer.

    Raises:
        InputError: No "type" key, or a type unknown to mmcv.
    """
    cfg = dict(norm_cfg if norm_cfg is not None else {"type": "SyncBN" if torch.cuda.is_available() else "BN"})
    if "type" not in cfg:
        raise InputError(f"norm_cfg={norm_cfg!r} has no 'type'. Write for example dict(type='SyncBN').")
    if cfg["type"] == "BN":
        cfg["type"] = "BN1d"
    try:
        layer: nn.Module = build_norm_layer(cfg, channels)[1]
    except KeyError as error:
        raise InputError(f"norm_cfg={norm_cfg!r}: mmcv knows no such norm layer. Use 'SyncBN' or 'BN'.") from error
    return layer
