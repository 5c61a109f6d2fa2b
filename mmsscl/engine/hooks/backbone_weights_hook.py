"""Refuse to fine-tune a backbone that the pretrained file did not fill."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import CheckpointLoader, Runner
from torch import nn

from mmsscl.errors import InputError
from mmsscl.registry import HOOKS
from mmsscl.zoo.key_difference import KeyDifference, compare_keys
from mmsscl.zoo.safe_load import is_remote, load_checkpoint, state_dict_of


@HOOKS.register_module()
class BackboneWeightsHook(Hook):
    """Compare the built model with its pretrained file, tensor by tensor and value by value, before the first step.

    mmengine loads pretrained weights leniently: keys that do not match are a line in the log, and training starts from
    random weights. Here it stops. Channel order, mean and std stored in the file are compared with the model's too.
    A resumed run is left alone; with ``load_from`` the backbone is compared with that file instead.

    Args:
        path: Attribute path of the backbone in the model.
        more_paths: Other parts of the model that the same file fills. A C4 detector keeps ``layer4`` in
            ``roi_head.shared_head``. Together the parts must take up the whole file.
        checkpoint: The file to compare with; by default that of the backbone's ``init_cfg``.
        allow_missing: Regular expressions (searched) of keys of these parts that the file may lack.
        allow_unexpected: Regular expressions of the file's keys that the backbone may lack, such as ``r"^fc\\."`` for a
            classifier's weights.
        allow_random: Accept a backbone without pretrained weights, for a baseline.

    Raises:
        InputError: Before training, with the missing, unexpected, mis-shaped and differing keys.

    Example:
        >>> custom_hooks = [dict(type="mmsscl.BackboneWeightsHook", allow_unexpected=[r"^fc\\."])]
    """

    # before hooks that may change weights when training starts
    priority = "VERY_HIGH"

    def __init__(
        self,
        path: str = "backbone",
        more_paths: Sequence[str] = (),
        checkpoint: str | None = None,
        allow_missing: Sequence[str] = (),
        allow_unexpected: Sequence[str] = (),
        allow_random: bool = False,
    ) -> None:
        self.path = path
        self.more_paths = (more_paths,) if isinstance(more_paths, str) else tuple(more_paths)
        self.checkpoint = checkpoint
        self.allow_missing = [re.compile(pattern) for pattern in allow_missing]
        self.allow_unexpected = [re.compile(pattern) for pattern in allow_unexpected]
        self.allow_random = allow_random

    def before_train(self, runner: Runner) -> None:
        """Compare, unless the run resumes.

        Args:
            runner: After its weights have been initialised and loaded.
        """
        # mmengine keeps `resume` true when it found nothing to resume from: the iteration tells
        if runner.iter > 0:
            runner.logger.info("resumed at iteration %d: the backbone comes from the checkpoint, not compared", runner.iter)
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        parts = {path: _part(model, path) for path in (self.path, *self.more_paths)}
        file: str | None
        if runner._load_from and self.checkpoint is None:
            file, prefixes = str(runner._load_from), [f"{path}." for path in parts]
            runner.logger.info("load_from is set: the backbone is compared with %s", file)
        else:
            initial = _pretrained_init(parts[self.path])
            file = self.checkpoint or (initial or {}).get("checkpoint")
            prefix = "" if self.checkpoint else (initial or {}).get("prefix") or ""
            prefixes = [f"{prefix}." if prefix and not prefix.endswith(".") else prefix]
        if file is None:
            self._accept_random(runner)
            return
        content = _read(file)
        state = state_dict_of(content, file)
        if prefixes == [""] and all(name.startswith("backbone.") for name in state):
            # mmdet's Swin Transformer takes this off by itself; whether it did, the values tell
            prefixes = ["backbone."]
        state = _under(prefixes, state)
        count = self._compare(parts, state, file, " and ".join(repr(prefix) for prefix in prefixes if prefix))
        self._compare_normalisation(model, content, file)
        runner.logger.info("backbone: all %d parameters and buffers are those of %s", count, file)

    def _accept_random(self, runner: Runner) -> None:
        if not self.allow_random:
            raise InputError(
                f"model.{self.path}.init_cfg: names no pretrained file, so the backbone starts from random weights. Give "
                f"one: --cfg-options model.{self.path}.init_cfg.checkpoint=FILE; for a baseline from random weights set "
                "allow_random=True of BackboneWeightsHook."
            )
        runner.logger.info("backbone: random weights, as allow_random says")

    def _compare(self, parts: dict[str, nn.Module], state: dict[str, torch.Tensor], file: str, prefix: str) -> int:
        own = _tensors(parts)
        found = compare_keys(own, state)
        difference = KeyDifference(
            [name for name in found.missing if not _matches(self.allow_missing, name)],
            [name for name in found.unexpected if not _matches(self.allow_unexpected, name)],
            found.reshaped,
        )
        shared = [name for name in own if name in state]
        differing = [
            name
            for name in shared
            if own[name].shape == state[name].shape
            and not torch.equal(own[name].detach().cpu(), state[name].cpu().to(own[name].dtype))
        ]
        if difference or differing:
            listed = difference.describe(with_other_values_than_the_file=differing)
            under = f" (its keys under {prefix})" if prefix else ""
            kinds = " + ".join(type(part).__name__ for part in parts.values())
            raise InputError(
                f"backbone {kinds} and {file}{under} do not match: {listed}. Use a file of the same "
                "architecture, exported by tools/export_backbone.py; list keys that may differ in allow_missing or "
                "allow_unexpected of BackboneWeightsHook."
            )
        return len(shared)

    def _compare_normalisation(self, model: nn.Module, content: dict[str, Any], file: str) -> None:
        meta = content.get("meta")
        preprocessor = getattr(model, "data_preprocessor", None)
        if not isinstance(meta, dict) or preprocessor is None or "mean" not in meta or "channel_order" not in meta:
            return
        faults = []
        for name in ("mean", "std"):
            value = getattr(preprocessor, name, None)
            found = [] if value is None else torch.as_tensor(value).detach().cpu().flatten().double().tolist()
            wanted = [float(number) for number in meta[name]]
            # half a unit of 8-bit images is below what rounding in a config may change
            if len(found) != len(wanted) or any(abs(a - b) > 0.5 for a, b in zip(found, wanted)):
                faults.append(f"{name} {found or 'unset'} instead of {wanted}")
        order = _channel_order(preprocessor)
        if order != meta["channel_order"]:
            faults.append(f"channel order {order} instead of {meta['channel_order']}")
        if faults:
            raise InputError(
                f"model.data_preprocessor: images would reach the backbone otherwise than in pretraining ({file}): "
                f"{'; '.join(faults)}. Set mean, std and bgr_to_rgb (mmdet) or to_rgb (mmpretrain) accordingly."
            )


def _part(model: nn.Module, path: str) -> nn.Module:
    module: Any = model
    for name in path.split("."):
        module = getattr(module, name, None)
        if module is None:
            raise InputError(
                f"BackboneWeightsHook: the model {type(model).__name__} has no {path!r}. Set `path` (or `more_paths`) to "
                f"its parts: {', '.join(name for name, _ in model.named_children())}."
            )
    return module


def _tensors(parts: Mapping[str, nn.Module]) -> dict[str, torch.Tensor]:
    """The parts' tensors under the names they have in a backbone."""
    own: dict[str, torch.Tensor] = {}
    for path, part in parts.items():
        tensors = {name.replace("_orig_mod.", ""): value for name, value in part.state_dict().items()}
        twice = sorted(own.keys() & tensors.keys())
        if twice:
            raise InputError(
                f"BackboneWeightsHook: {path} and another of its paths both have {twice[0]!r}, so one file cannot fill "
                "them as parts of one backbone. Give each its own BackboneWeightsHook."
            )
        own |= tensors
    return own


def _under(prefixes: Sequence[str], state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): value
        for prefix in prefixes
        for name, value in state.items()
        if name.startswith(prefix)
    }


def _read(file: str) -> dict[str, Any]:
    if is_remote(file):
        content = CheckpointLoader.load_checkpoint(file, map_location="cpu")
        return content if isinstance(content, dict) else {}
    return load_checkpoint(file)


def _pretrained_init(backbone: nn.Module) -> dict[str, Any] | None:
    initial = getattr(backbone, "init_cfg", None)
    for candidate in initial if isinstance(initial, (list, tuple)) else [initial]:
        if isinstance(candidate, dict) and candidate.get("type") == "Pretrained":
            return candidate
    return None


def _channel_order(preprocessor: nn.Module) -> str:
    """The order after the preprocessor; OpenMMLab's pipelines decode to BGR, mmsscl's to RGB."""
    if type(preprocessor).__module__.startswith("mmsscl."):
        return "RGB"
    swapped = getattr(preprocessor, "_channel_conversion", False) or getattr(preprocessor, "to_rgb", False)
    return "RGB" if swapped else "BGR"


def _matches(patterns: list[re.Pattern[str]], name: str) -> bool:
    return any(pattern.search(name) for pattern in patterns)

