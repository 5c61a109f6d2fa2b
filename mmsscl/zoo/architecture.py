"""The config of a backbone, read off the shapes of its tensors."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mmsscl.errors import InputError
from mmsscl.zoo.swin_keys import window_of

# blocks in each stage, whether they are bottlenecks
_RESNETS: dict[tuple[tuple[int, ...], bool], int] = {
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152,
}
# channels of the first stage, blocks in each
_SWINS: dict[tuple[int, tuple[int, ...]], str] = {
    (96, (2, 2, 6, 2)): "tiny",
    (96, (2, 2, 18, 2)): "small",
    (128, (2, 2, 18, 2)): "base",
    (192, (2, 2, 18, 2)): "large",
}
# what torchvision's, timm's, mmdet's and mmpretrain's plain ResNets have; with others tensors load, and something else is
# computed
USUAL_RESNET = {
    "strides": (1, 2, 2, 2), "dilations": (1, 1, 1, 1), "base_channels": 64, "stem_channels": 64, "expansion": None,
    "deep_stem": False, "avg_down": False,
}  # fmt: skip
NAMES = (*(f"resnet{depth}" for depth in _RESNETS.values()), *(f"swin-{size}" for size in _SWINS.values()))


def config_of(state: Mapping[str, Tensor], family: str, path: str | Path) -> dict[str, Any]:
    """A config that mmsscl builds such a backbone from.

    Args:
        state: mmpretrain's name to tensor.
        family: "ResNet" or "SwinTransformer".
        path: Its file, for the message.

    Returns:
        For ``MODELS.build``. That ``state`` fills it is not known yet: there are wider ResNets with as many blocks.

    Raises:
        InputError: No such network is known.

    Example:
        >>> from torchvision.models import resnet18
        >>> config_of(resnet18().state_dict(), "ResNet", "resnet18.pth")["depth"]
        18
    """
    if family == "ResNet":
        blocks = _blocks(state, r"layer([1-4])\.(\d+)\.")
        depth = _RESNETS.get((blocks, "layer1.0.conv3.weight" in state))
        if depth is None:
            kind = "bottleneck" if "layer1.0.conv3.weight" in state else "basic"
            raise InputError(
                f"checkpoint {path}: a ResNet with {' + '.join(map(str, blocks))} {kind} blocks is not known, or keys are "
                f"missing. Known are {', '.join(NAMES[:5])}."
            )
        return dict(type="mmpretrain.ResNet", depth=depth, out_indices=(3,), norm_cfg=dict(type="BN"), norm_eval=False)
    blocks = _blocks(state, r"stages\.(\d)\.blocks\.(\d+)\.")
    channels = next(iter(state["patch_embed.projection.weight"].shape), 0)
    size = _SWINS.get((channels, blocks))
    if size is None:
        raise InputError(
            f"checkpoint {path}: a Swin Transformer of {channels} channels with {' + '.join(map(str, blocks))} blocks is "
            f"not known, or keys are missing. Known are {', '.join(NAMES[5:])}."
        )
    table = state.get("stages.0.blocks.0.attn.w_msa.relative_position_bias_table")
    window = 7 if table is None or table.ndim == 0 else window_of(table)
    normed = tuple(stage for stage in range(4) if f"norm{stage}.weight" in state)
    # no pad_small_map: with it windows are shifted on a map of one window too, which these were not trained with
    return dict(type="mmpretrain.SwinTransformer", arch=size, window_size=window, out_indices=normed or (3,))


def name_of(config: Mapping[str, Any]) -> str:
    """What ``--arch`` calls a config's network: "resnet50", "swin-tiny"; another's type and size."""
    label = label_of(config)
    return label.replace("ResNet-", "resnet").replace("SwinTransformer-", "swin-")


def label_of(config: Mapping[str, Any]) -> str:
    """What a file's ``meta`` calls a config's network: "ResNet-50"."""
    kind = str(config["type"]).rsplit(".", 1)[-1]
    size = config.get("depth", config.get("arch"))
    return kind if size is None else f"{kind}-{size}"


def check_expected(found: str, expected: str | None, path: str | Path) -> None:
    """Compare a file's network with what its user takes it for.

    Raises:
        InputError: It is another; or there is no such name.
    """
    if expected is None:
        return
    short = {f"swin-{size[0]}": f"swin-{size}" for size in _SWINS.values()}
    expected = short.get(expected, expected)
    if expected not in NAMES:
        raise InputError(f"--arch {expected}: no such network. Use one of: {', '.join(NAMES)}.")
    if found != expected:
        raise InputError(
            f"checkpoint {path}: holds a {found}, not the {expected} that --arch asks for. Leave --arch out, or take "
            "another file."
        )


def _blocks(state: Mapping[str, Tensor], pattern: str) -> tuple[int, ...]:
    last: dict[int, int] = {}
    for name in state:
        found = re.match(pattern, name)
        if found:
            stage = int(found[1])
            last[stage] = max(last.get(stage, 0), int(found[2]) + 1)
    return tuple(last[stage] for stage in sorted(last))
