"""A frozen backbone that turns photos into features, from any file that holds one."""
import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

from mmsscl.engine.config import load_config
from mmsscl.errors import InputError
from mmsscl.zoo.file_hash import sha256_of
from mmsscl.zoo.key_difference import compare_keys
from mmsscl.zoo.read_backbone import StoredBackbone, build_backbone, read_backbone
from mmsscl.zoo.safe_load import load_checkpoint, state_dict_of
from mmsscl.zoo.told_normalisation import Told, preprocessor_normalisation

_PROBE = 224
_CLASSIFIERS = ("fc.", "head.", "classifier.")


class FeatureNetwork(nn.Module):
    """A backbone in eval mode, without gradients, that normalises its images itself.

    Args:
        backbone: Images in, a feature map or a tuple of them out; of several the last is taken.
        mean: Of the three channels, in 0..255.
        std: Likewise.
        channel_order: "RGB" or "BGR", of the images that the backbone was trained on.
        name: Of the file that its weights are from.
        sha256: Of that file, in hexadecimal; with random weights, of what they were drawn with.
        stage: Which of the backbone's stages it gives; None: its last.
    """

    def __init__(
        self, backbone: nn.Module, mean: list[float], std: list[float], channel_order: str, name: str, sha256: str,
        stage: int | None = None,
    ) -> None:
        super().__init__()
        backbone = revert_sync_batchnorm(backbone)
        self.backbone = backbone.requires_grad_(False)
        self.backbone.eval()
        self.channel_order, self.name, self.sha256, self.stage = channel_order, name, sha256, stage
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "FeatureNetwork":
        """Stays in eval mode."""
        return super().train(False)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.mean.device

    @property
    def stride(self) -> int:
        """Image pixels a cell of the feature map."""
        side = self.maps(torch.zeros(1, 3, _PROBE, _PROBE, dtype=torch.uint8)).shape[-1]
        return round(_PROBE / side)

    @torch.no_grad()
    def maps(self, images: Tensor) -> Tensor:
        """Features of images.

        Args:
            images: uint8 (N, 3, H, W), RGB.

        Returns:
            float32 (N, C, h, w); (N, C, 1, 1) from a backbone that gives vectors.
        """
        pixels = images.to(self.device).float()
        if self.channel_order == "BGR":
            pixels = pixels.flip(1)
        found = self.backbone((pixels - self.mean) / self.std)
        features: Tensor = found[-1] if isinstance(found, (tuple, list)) else found
        return features.float() if features.ndim == 4 else features.float().flatten(1)[..., None, None]

    def forward(self, images: Tensor) -> Tensor:
        """The mean of the map: float32 (N, C) of uint8 (N, 3, H, W)."""
        return self.maps(images).mean((2, 3))


def load_feature_network(
    checkpoint: str | Path, branch: str | None = None, config: str | Path | None = None, stage: int | None = None,
    device: str | torch.device = "cpu",
) -> FeatureNetwork:
    """The backbone of a file, whole or not at all.

    Args:
        checkpoint: Of training, or a file of ``mmsscl export``: these tell their backbone. Other weights: with ``config``.
        branch: "online" or "target" of a training checkpoint; None: "online".
        config: A config whose ``model.backbone`` and ``data_preprocessor`` are used in place of what the file tells.
        stage: Which stage's features, as ``out_indices`` of mmpretrain's backbones counts them (0..3 in a ResNet); None:
            the last that the backbone gives.
        device: "cpu", "cuda", ...

    Raises:
        InputError: The file cannot be read, does not tell its backbone or does not fill it; there is no such stage.

    Example:
        >>> network = load_feature_network("backbone.pth")         # doctest: +SKIP
        >>> network(torch.zeros(2, 3, 224, 224, dtype=torch.uint8)).shape
        torch.Size([2, 2048])
    """
    file = Path(checkpoint)
    if config is None:
        stored = read_backbone(file, branch)
    else:
        if branch not in (None, "online"):
            raise InputError(f"--branch {branch}: files read with --config have no branches. Leave one of the two out.")
        stored = _by_config(file, config)
    network = _network(stored, file.name, sha256_of(file), stage)
    own = network.backbone.state_dict()
    difference = compare_keys(own, stored.state)
    strange = [key for key in difference.unexpected if not key.startswith(_CLASSIFIERS)]
    if difference.missing or difference.reshaped or strange:
        raise InputError(
            f"checkpoint {file}: is not of this backbone ({difference.describe()}). Give the config that it belongs to "
            "with --config."
        )
    network.backbone.load_state_dict({key: stored.state[key] for key in own})
    return network.to(device)


def random_feature_network(
    like: str | Path, seed: int = 0, stage: int | None = None, device: str | torch.device = "cpu"
) -> FeatureNetwork:
    """The backbone of a file with the random weights that its training would begin with, to compare with.

    Args:
        like: As ``checkpoint`` of :func:`load_feature_network`.
        seed: Of the weights.
        stage: As of :func:`load_feature_network`.
        device: "cpu", "cuda", ...
    """
    stored = read_backbone(like)
    described = repr((seed, sorted(stored.config.items(), key=str)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        name, digest = f"random weights (seed {seed})", hashlib.sha256(described.encode()).hexdigest()
        with quiet_logs():
            network = _network(stored, name, digest, stage, initialise=True)
    return network.to(device)


@contextmanager
def quiet_logs() -> Iterator[None]:
    """mmengine says of each parameter how it was drawn."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _network(stored: StoredBackbone, name: str, sha256: str, stage: int | None, initialise: bool = False) -> FeatureNetwork:
    changes: dict[str, Any] = {"frozen_stages": -1} if "frozen_stages" in stored.config else {}
    if stage is not None:
        changes["out_indices"] = (stage,)
    try:
        backbone: Any = build_backbone(stored, **changes)
        if initialise and hasattr(backbone, "init_weights"):
            backbone.init_weights()
        network = FeatureNetwork(backbone, **_numbers(stored), name=name, sha256=sha256, stage=stage)
        if stage is not None:
            network.maps(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    except (TypeError, AssertionError, IndexError, ValueError) as error:
        kind = stored.config.get("type")
        raise InputError(
            f"{name}: its backbone {kind} cannot be built{'' if stage is None else f' for --stage {stage}'} ({error}). "
            "Stages are numbered as in out_indices of its config; leave --stage out for the last."
        ) from error
    return network


def _numbers(stored: StoredBackbone) -> dict[str, Any]:
    known = stored.told.normalisation
    assert known is not None, "read_backbone refuses a file that does not tell"
    return dict(mean=list(known.mean), std=list(known.std), channel_order=known.channel_order)


def _by_config(file: Path, config: str | Path) -> StoredBackbone:
    settings = load_config(config)
    model = settings.get("model") or {}
    preprocessor = {**(settings.get("data_preprocessor") or {}), **(model.get("data_preprocessor") or {})}
    if "backbone" not in model or preprocessor.get("mean") is None or preprocessor.get("std") is None:
        raise InputError(f"config {config}: has no model.backbone, or no data_preprocessor with mean and std.")
    backbone = {key: value for key, value in model["backbone"].items() if key != "init_cfg"}
    state = state_dict_of(load_checkpoint(file), file)
    if any(key.startswith("backbone.") for key in state):
        state = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    told = Told(preprocessor_normalisation(preprocessor, f"config {config}: data_preprocessor"))
    return StoredBackbone(backbone, settings.get("default_scope"), state, told, "online", False)
