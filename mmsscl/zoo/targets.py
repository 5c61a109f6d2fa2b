"""A backbone as each library wants its file."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torchvision
from torch import Tensor

from mmsscl.errors import InputError
from mmsscl.zoo import swin_keys
from mmsscl.zoo.architecture import USUAL_RESNET
from mmsscl.zoo.key_difference import KeyDifference
from mmsscl.zoo.resnet_keys import to_detectron2

TARGETS = ("mmdet", "mmpretrain", "torchvision", "timm", "detectron2")


class ForTarget(NamedTuple):
    """What a library's file holds.

    Attributes:
        state: The library's name to tensor.
        config: Of a backbone that these tensors fill.
        remarks: What its user must know.
    """

    state: dict[str, Tensor]
    config: dict[str, Any]
    remarks: list[str]


def for_target(state: Mapping[str, Tensor], config: dict[str, Any], target: str) -> ForTarget:
    """Rename and reorder mmpretrain's tensors for a library.

    Args:
        state: mmpretrain's name to tensor.
        config: Of the backbone.
        target: One of ``TARGETS``.

    Raises:
        InputError: The library has no such network, or it would compute something else.
    """
    kind = str(config["type"]).rsplit(".", 1)[-1]
    if kind == "ResNet":
        return _resnet(state, config, target)
    if kind == "SwinTransformer":
        return _swin(state, config, target)
    if target == "mmpretrain":
        return ForTarget(dict(state), config, [])
    if target == "mmdet":
        name = kind if "." not in str(config["type"]) else config["type"]
        remark = f"mmdet's own {kind}, if it has one, may name its tensors otherwise: take mmpretrain's, by type='{name}'"
        return ForTarget(dict(state), config, [remark])
    raise InputError(f"--to {target}: not known for a {kind}, only for ResNet and SwinTransformer. Use --to mmpretrain.")


def _resnet(state: Mapping[str, Tensor], config: dict[str, Any], target: str) -> ForTarget:
    caffe = config.get("style") == "caffe" and config.get("depth", 50) >= 50
    if caffe and target in ("torchvision", "timm"):
        raise InputError(
            f"--to {target}: its bottlenecks stride in the second convolution, this backbone's (Caffe style) in the first: "
            "the weights would load and give other features. Use --to mmdet, mmpretrain or detectron2."
        )
    if target not in ("mmdet", "mmpretrain"):
        _require_plain(state, config["depth"], target)
    unusual = [
        f"{key}={value}"
        for key, usual in USUAL_RESNET.items()
        if (value := config.get(key, usual)) != usual and not (isinstance(value, list) and tuple(value) == usual)
    ]
    remarks = [f"trained with {', '.join(unusual)}: without the same in {target} the features are others"] if unusual else []
    if target == "detectron2":
        return ForTarget({to_detectron2(name): value for name, value in state.items()}, config, remarks)
    return ForTarget(dict(state), config, remarks)


def _require_plain(state: Mapping[str, Tensor], depth: int, target: str) -> None:
    """Refuse norms, plugins and the like that leave other tensors than a plain ResNet has."""
    with torch.device("meta"):
        plain = getattr(torchvision.models, f"resnet{depth}")(weights=None).state_dict()
    names = {name for name in plain if not name.startswith("fc.")}
    difference = KeyDifference(sorted(names - state.keys()), sorted(state.keys() - names), [])
    if difference:
        raise InputError(
            f"--to {target}: its ResNet-{depth} has other tensors (batch norm, no plugins): {difference.describe()}. "
            "Use --to mmdet or mmpretrain."
        )


def _swin(state: Mapping[str, Tensor], config: dict[str, Any], target: str) -> ForTarget:
    if target == "mmpretrain":
        return ForTarget(dict(state), config, [])
    between = [name for name in state if name.startswith(("norm0.", "norm1.", "norm2."))]
    if target == "mmdet":
        remarks = [] if between else [
            "mmdet's Swin norms each stage that it gives; norms that pretraining had no use for start anew: "
            r"BackboneWeightsHook needs allow_missing=[r'^norm[012]\.']"]  # fmt: skip
        # its loader takes only names that begin so
        return ForTarget({f"backbone.{name}": value for name, value in state.items()}, config, remarks)
    if target == "detectron2":
        raise InputError("--to detectron2: not known for a Swin Transformer, only for ResNets. Use --to mmdet or timm.")
    kept = {name: value for name, value in state.items() if name not in between}
    remarks = [f"{target} has no norm after stages before the last: left out {', '.join(between)}"] if between else []
    if config.get("pad_small_map"):
        remarks.append(f"trained with pad_small_map=True: on maps of one window {target} does not shift, so features differ")
    renamed = swin_keys.to_timm(kept) if target == "timm" else swin_keys.to_torchvision(kept)
    return ForTarget(renamed, {**config, "out_indices": (3,)}, remarks)
