"""A backbone as each library wants its file."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmsscl.errors import InputError
from mmsscl.zoo import swin_keys
from mmsscl.zoo.resnet_keys import to_detectron2

TARGETS = ("mmdet", "mmpretrain", "torchvision", "timm", "detectron2")

# what a library's own ResNet has; others load, and then compute something else
_USUAL = {
    "strides": (1, 2, 2, 2), "dilations": (1, 1, 1, 1), "base_channels": 64, "stem_channels": 64, "expansion": None,
    "deep_stem": False, "avg_down": False,
}  # fmt: skip


def for_target(state: Mapping[str, Tensor], config: Mapping[str, Any], target: str) -> tuple[dict[str, Tensor], list[str]]:
    """Rename and reorder mmpretrain's tensors for a library.

    Args:
        state: mmpretrain's name to tensor.
        config: Of the backbone.
        target: One of ``TARGETS``.

    Returns:
        The library's name to tensor, and remarks on what its user must know.

    Raises:
        InputError: The library has no such network, or it would compute something else.
    """
    kind = str(config["type"]).rsplit(".", 1)[-1]
    if kind == "ResNet":
        return _resnet(state, config, target)
    if kind == "SwinTransformer":
        return _swin(state, config, target)
    if target in ("mmdet", "mmpretrain"):
        return dict(state), []
    raise InputError(f"--to {target}: not known for a {kind}, only for ResNet and SwinTransformer. Use --to mmpretrain.")


def _resnet(state: Mapping[str, Tensor], config: Mapping[str, Any], target: str) -> tuple[dict[str, Tensor], list[str]]:
    caffe = config.get("style") == "caffe" and config.get("depth", 50) >= 50
    if caffe and target in ("torchvision", "timm"):
        raise InputError(
            f"--to {target}: its bottlenecks stride in the second convolution, this backbone's (Caffe style) in the first: "
            "the weights would load and give other features. Use --to mmdet, mmpretrain or detectron2."
        )
    unusual = [
        f"{key}={value}"
        for key, usual in _USUAL.items()
        if (value := config.get(key, usual)) != usual and not (isinstance(value, list) and tuple(value) == usual)
    ]
    remarks = [f"trained with {', '.join(unusual)}: without the same in {target} the features are others"] if unusual else []
    if target == "detectron2":
        return {to_detectron2(name): value for name, value in state.items()}, remarks
    return dict(state), remarks


def _swin(state: Mapping[str, Tensor], config: Mapping[str, Any], target: str) -> tuple[dict[str, Tensor], list[str]]:
    if target == "mmpretrain":
        return dict(state), []
    if target == "mmdet":
        # its loader takes only names that begin so
        remarks = ["mmdet's Swin norms each stage that it gives; norms that pretraining had no use for start anew: "
                   r"BackboneWeightsHook needs allow_missing=[r'^norm[012]\.']"]  # fmt: skip
        return {f"backbone.{name}": value for name, value in state.items()}, remarks
    if target == "detectron2":
        raise InputError("--to detectron2: not known for a Swin Transformer, only for ResNets. Use --to mmdet or timm.")
    between = [name for name in state if name.startswith(("norm0.", "norm1.", "norm2."))]
    kept = {name: value for name, value in state.items() if name not in between}
    remarks = [f"{target} has no norm after stages before the last: left out {', '.join(between)}"] if between else []
    if config.get("pad_small_map"):
        remarks.append(f"trained with pad_small_map=True: on maps of one window {target} does not shift, so features differ")
    return swin_keys.to_timm(kept) if target == "timm" else swin_keys.to_torchvision(kept), remarks
