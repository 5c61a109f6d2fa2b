"""Saliency maps of photos from a pretraining checkpoint, made as in training (see :func:`photo_maps`)."""
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mmsscl.datasets.transforms.loading import read_photo
from mmsscl.errors import InputError
from mmsscl.names import did_you_mean, near_names
from mmsscl.registry import MODELS
from mmsscl.saliency.estimators import DEFAULT_ESTIMATOR, SaliencyEstimator
from mmsscl.saliency.extract import evaluating, extract_maps, squash_image
from mmsscl.saliency.normalise import resize_maps
from mmsscl.saliency.refresh import refresh_batches
from mmsscl.zoo.key_difference import compare_keys, drop_pretrained_init
from mmsscl.zoo.safe_load import load_checkpoint, state_dict_of

BRANCHES = ("target", "online")
_HOOK = "SaliencyRefreshHook"


@dataclass(frozen=True)
class Extraction:
    """How maps are made; by default as the config's ``SaliencyRefreshHook`` makes them.

    Attributes:
        estimator: config of a ``SaliencyEstimator``.
        image_size: side of the square that whole images are squashed to, in pixels.
        map_size: cells a side that maps are brought to.
        batch_size: images at a time; estimators that compare images of a batch depend on it.
        mirror: average with the mirrored image's map.
    """

    estimator: dict[str, Any]
    image_size: int = 448
    map_size: int = 14
    batch_size: int = 64
    mirror: bool = True


@dataclass(frozen=True)
class PretrainedNetwork:
    """One branch of a pretrained model, in eval mode.

    Attributes:
        backbone: normalised images in, feature maps out.
        neck: with the ``projector``, or None where the checkpoint is a backbone only.
        mean: of the three channels, (3, 1, 1).
        std: likewise.
        source: "target" or "online"; "backbone file" where the checkpoint has no branches.
    """

    backbone: nn.Module
    neck: nn.Module | None
    mean: Tensor
    std: Tensor
    source: str = BRANCHES[0]

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.backbone.parameters()).device


def extraction_of(config: Config, estimator: str | None = None, **given: Any) -> Extraction:
    """What the config's refresh hook says, changed by what is given.

    Args:
        config: a pretraining config.
        estimator: name of another estimator, with its default settings.
        **given: other values for ``image_size``, ``map_size``, ``batch_size``, ``mirror``; None keeps the hook's.

    Raises:
        InputError: no refresh hook and no estimator, or a size below 1.
    """
    hooks = [hook for hook in config.get("custom_hooks") or [] if str(hook.get("type")).rsplit(".", 1)[-1] == _HOOK]
    said = {key: hooks[0].get(key) for key in Extraction.__dataclass_fields__} if hooks else {}
    settings = {key: value for key, value in said.items() if value is not None}
    if hooks:
        settings.setdefault("estimator", dict(DEFAULT_ESTIMATOR))
    if estimator is not None and settings.get("estimator", {}).get("type") != estimator:
        settings["estimator"] = {"type": estimator}
    if "estimator" not in settings:
        raise InputError(
            f"config {config.filename}: has no {_HOOK} in custom_hooks that would say how maps are made. "
            f"Name an estimator: --estimator {DEFAULT_ESTIMATOR['type']} (or ContrastiveCAM, SpectralSaliency, "
            "ActivationSaliency)."
        )
    settings |= {key: value for key, value in given.items() if value is not None}
    extraction = Extraction(**settings)
    for key in ("image_size", "map_size", "batch_size"):
        if getattr(extraction, key) < 1:
            raise InputError(f"{key}={getattr(extraction, key)}: give a whole number from 1.")
    return extraction


def build_estimator(extraction: Extraction) -> SaliencyEstimator:
    """The estimator of an extraction, in eval mode.

    Raises:
        InputError: it is not known, or no saliency estimator.
    """
    name = str(extraction.estimator.get("type")).removeprefix("mmsscl.")
    known = [key for key, value in MODELS.module_dict.items() if issubclass(value, SaliencyEstimator)]
    if name not in known:
        hint = did_you_mean(near_names(name, known), f"Known: {', '.join(sorted(known))}.")
        raise InputError(f"saliency estimator {name!r}: no such estimator. {hint}")
    # by its full name: whoever calls may work in another library's scope
    built: SaliencyEstimator = MODELS.build({**extraction.estimator, "type": f"mmsscl.{name}"})
    return built


def load_network(
    config: Config, checkpoint: str | Path, branch: str = "target", device: str | torch.device = "cpu"
) -> PretrainedNetwork:
    """Build one branch of a config's model and fill it from a checkpoint, all of it.

    Args:
        config: the pretraining config.
        checkpoint: of its training; or a backbone file (``mmsscl export``), which has no projector.
        branch: "target" (the moving average, which the refresh uses) or "online".
        device: "cpu", "cuda", ...

    Raises:
        InputError: the config has no model with a backbone and a data preprocessor, or the checkpoint cannot be read or
            does not fit.
    """
    if branch not in BRANCHES:
        raise InputError(f"--branch {branch}: no such branch. Use one of: {', '.join(BRANCHES)}.")
    model = copy.deepcopy(config.get("model") or {})
    preprocessor_config = model.get("data_preprocessor") or config.get("data_preprocessor")
    if "backbone" not in model or preprocessor_config is None:
        raise InputError(
            f"config {config.filename}: its model has no backbone or no data_preprocessor. Give a pretraining config."
        )
    init_default_scope(config.get("default_scope", "mmsscl"))
    drop_pretrained_init(model)
    tensors = state_dict_of(load_checkpoint(checkpoint), checkpoint)
    prefix = "target." if branch == "target" else ""
    if any(key.startswith(("backbone.", "target.")) for key in tensors):
        if not any(key.startswith(f"{prefix}backbone.") for key in tensors):
            other = BRANCHES[1 - BRANCHES.index(branch)]
            raise InputError(f"checkpoint {checkpoint}: holds no {branch} network. Use --branch {other}.")
        backbone = _filled(model["backbone"], tensors, f"{prefix}backbone.", checkpoint, config)
        neck = _filled(model["neck"], tensors, f"{prefix}neck.", checkpoint, config) if "neck" in model else None
    else:
        backbone, neck = _filled(model["backbone"], tensors, "", checkpoint, config), None
        branch = "backbone file"
    preprocessor = MODELS.build(preprocessor_config)
    mean, std = (getattr(preprocessor, name).detach().reshape(3, 1, 1).float().to(device) for name in ("mean", "std"))
    return PretrainedNetwork(backbone.to(device), None if neck is None else neck.to(device), mean, std, branch)


def photo_maps(
    network: PretrainedNetwork, estimator: SaliencyEstimator, extraction: Extraction, paths: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Maps of photos, made as the refresh in training makes them, but for three things.

    The refresh averages with the maps of earlier refreshes; it runs the backbone under training's autocast, here all is
    in float32; and its batches are drawn anew each time, which matters to estimators that compare images.

    Args:
        network: from :func:`load_network`.
        estimator: from :func:`build_estimator`.
        extraction: how.
        paths: of the photos, at least one.

    Returns:
        maps: float32 (N, s, s) in [0, 1], s the extraction's ``map_size``.
        trust: float32 (N,) in [0, 1].

    Raises:
        InputError: a photo cannot be read.
    """
    device = network.device
    maps = np.empty((len(paths), extraction.map_size, extraction.map_size), np.float32)
    trusts = np.empty(len(paths), np.float32)
    estimator.to(device)
    with evaluating(network.backbone, estimator, *([] if network.neck is None else [network.neck])):
        for batch in refresh_batches(len(paths), extraction.batch_size, seed=0):
            pixels = torch.stack([squash_image(read_photo(paths[index]), extraction.image_size) for index in batch])
            images = (pixels.to(device).float() - network.mean) / network.std
            values, trust = extract_maps(network.backbone, network.neck, estimator, images, extraction.mirror)
            maps[batch] = resize_maps(values, extraction.map_size).cpu().numpy()
            trusts[batch] = trust.cpu().numpy()
    return maps, trusts


def _filled(
    part: dict[str, Any], tensors: dict[str, Tensor], prefix: str, checkpoint: str | Path, config: Config
) -> nn.Module:
    module: nn.Module = revert_sync_batchnorm(MODELS.build(part))
    module.eval()  # mmpretrain's returns nothing
    wanted = module.state_dict()
    own = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
    difference = compare_keys(wanted, own)
    # a backbone file may carry a classifier that maps have no use for; one of ours has nothing more than the backbone
    if difference.missing or difference.reshaped or (prefix and difference.unexpected):
        what = f"its {prefix.rstrip('.') or 'backbone'}"
        raise InputError(
            f"checkpoint {checkpoint}: {what} does not fit {config.filename} ({difference.describe()}). "
            "Give the config that the checkpoint was trained with."
        )
    module.load_state_dict({key: own[key] for key in wanted})
    return module.requires_grad_(False)
