"""How libraries name and order the tensors of a Swin Transformer. The form in between is mmpretrain's.

All have queries, keys and values in one tensor, in this order. What differs beside the names: mmpretrain merges 2 x 2 cells
by ``nn.Unfold``, whose vector runs over channels, then rows, then columns; the others' runs over columns, rows, channels.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_TO_TIMM = {
    r"^patch_embed\.projection\.": "patch_embed.proj.",
    r"^norm3\.": "norm.",
    r"^stages\.": "layers.",
    r"\.attn\.w_msa\.": ".attn.",
    r"\.ffn\.layers\.0\.0\.": ".mlp.fc1.",
    r"\.ffn\.layers\.1\.": ".mlp.fc2.",
}
_FROM_TIMM = {
    r"^patch_embed\.proj\.": "patch_embed.projection.",
    r"^norm\.": "norm3.",
    r"^layers\.": "stages.",
    r"\.attn\.": ".attn.w_msa.",
    r"\.mlp\.fc1\.": ".ffn.layers.0.0.",
    r"\.mlp\.fc2\.": ".ffn.layers.1.",
}
_TO_TORCHVISION = {
    r"^patch_embed\.projection\.": "features.0.0.",
    r"^patch_embed\.norm\.": "features.0.2.",
    r"^norm3\.": "norm.",
    r"\.attn\.w_msa\.": ".attn.",
    r"\.ffn\.layers\.0\.0\.": ".mlp.0.",
    r"\.ffn\.layers\.1\.": ".mlp.3.",
}
_FROM_TORCHVISION = {
    r"^features\.0\.0\.": "patch_embed.projection.",
    r"^features\.0\.2\.": "patch_embed.norm.",
    r"^norm\.": "norm3.",
    r"\.attn\.": ".attn.w_msa.",
    r"\.mlp\.0\.": ".ffn.layers.0.0.",
    r"\.mlp\.3\.": ".ffn.layers.1.",
}


def to_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """From mmpretrain to timm (0.9 and later), whose stages begin with the merging that ends them elsewhere.

    Args:
        state: Of an mmpretrain Swin Transformer with ``out_indices=(3,)``.

    Returns:
        Of timm's, without its head. The index tables, which timm does not store, are left out.
    """
    found = {}
    for name, value in state.items():
        if name.endswith("relative_position_index"):
            continue
        changed = _rename(name, _TO_TIMM)
        changed = re.sub(r"^layers\.(\d+)\.downsample\.", lambda stage: f"layers.{int(stage[1]) + 1}.downsample.", changed)
        found[changed] = _cells_first(value) if ".downsample." in changed else value
    return found


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """From timm, or from Microsoft's code (merging at the end of a stage), to mmpretrain.

    Args:
        state: Without a head; with or without the index tables.
    """
    shift = 0 if any(name.startswith("layers.0.downsample.") for name in state) else 1
    found = {}
    for name, value in state.items():
        if name.endswith(("relative_position_index", "attn_mask")):
            continue
        name = re.sub(r"^layers\.(\d+)\.downsample\.", lambda stage: f"layers.{int(stage[1]) - shift}.downsample.", name)
        found[_rename(name, _FROM_TIMM)] = _channels_first(value) if ".downsample." in name else value
    return _with_indices(found)


def to_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """From mmpretrain to torchvision.

    Args:
        state: As of :func:`to_timm`.

    Returns:
        Of torchvision's, without its head. The index tables are flat.
    """
    found = {}
    for name, value in state.items():
        if name.endswith("relative_position_index"):
            value = value.flatten()
        name = re.sub(r"^stages\.(\d+)\.blocks\.", lambda stage: f"features.{2 * int(stage[1]) + 1}.", name)
        if ".downsample." in name:
            name = re.sub(r"^stages\.(\d+)\.downsample\.", lambda stage: f"features.{2 * int(stage[1]) + 2}.", name)
            value = _cells_first(value)
        found[_rename(name, _TO_TORCHVISION)] = value
    return found


def from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The reverse of :func:`to_torchvision`."""
    found = {}
    for name, value in state.items():
        if name.endswith("relative_position_index"):
            continue
        if re.match(r"^features\.[246]\.(norm|reduction)\.", name):
            value = _channels_first(value)
        name = re.sub(r"^features\.([1357])\.", lambda part: f"stages.{int(part[1]) // 2}.blocks.", name)
        name = re.sub(r"^features\.([246])\.", lambda part: f"stages.{int(part[1]) // 2 - 1}.downsample.", name)
        found[_rename(name, _FROM_TORCHVISION)] = value
    return _with_indices(found)


def window_of(table: Tensor) -> int:
    """The side of the windows that a table of relative positions is for."""
    return (int(len(table) ** 0.5) + 1) // 2


def _rename(name: str, patterns: Mapping[str, str]) -> str:
    for pattern, replacement in patterns.items():
        name = re.sub(pattern, replacement, name)
    return name


def _with_indices(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the index tables, which follow from the window's size alone."""
    for name in [name for name, value in state.items() if name.endswith("relative_position_bias_table") and value.ndim]:
        window = window_of(state[name])
        row = torch.arange(window).repeat_interleave(window)
        column = torch.arange(window).repeat(window)
        down, right = (place[:, None] - place[None, :] + window - 1 for place in (row, column))
        state[name.replace("bias_table", "index")] = down * (2 * window - 1) + right
    return state


def _cells_first(value: Tensor) -> Tensor:
    """The last axis from (channel, row, column) to (column, row, channel)."""
    return value.unflatten(-1, (-1, 2, 2)).transpose(-3, -1).flatten(-3) if _is_of_cells(value) else value


def _channels_first(value: Tensor) -> Tensor:
    return value.unflatten(-1, (2, 2, -1)).transpose(-3, -1).flatten(-3) if _is_of_cells(value) else value


def _is_of_cells(value: Tensor) -> bool:
    """Whether its last axis runs over 2 x 2 cells; a tensor of another network is left, and told by its shape later."""
    return value.ndim > 0 and value.shape[-1] % 4 == 0
