"""Features of photos by a frozen backbone, pooled, kept on disk."""
import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from mmsscl.atomic_file import atomic_file
from mmsscl.datasets.shards import TarAddress
from mmsscl.datasets.transforms.loading import read_photo
from mmsscl.errors import InputError
from mmsscl.evaluation.feature_network import FeatureNetwork

_VERSION = 1


@dataclass(frozen=True)
class FeatureSettings:
    """How photos are brought to one size.

    Attributes:
        size: Side of the square that is cut from the middle, in pixels.
        short_side: What a photo's short side is brought to before; None: 256/224 of ``size``, as on ImageNet.
        mirror: Whether the mirrored photo's features are averaged in.
    """

    size: int = 224
    short_side: int | None = None
    mirror: bool = False

    def __post_init__(self) -> None:
        if self.size < 1 or (self.short_side is not None and self.short_side < self.size):
            raise InputError(
                f"size={self.size}, short_side={self.short_side}: the square must have a pixel and fit into the photo; "
                "give a short side of at least the size."
            )


class CentreCrops(Dataset):
    """Photos at one size: antialiased bicubic to the short side, then the square in the middle.

    Args:
        paths: Of the photos.
        settings: The sizes.
    """

    def __init__(self, paths: Sequence[str], settings: FeatureSettings) -> None:
        self.paths, self.settings = paths, settings

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        """uint8 RGB (3, size, size)."""
        photo = read_photo(self.paths[index])
        size = self.settings.size
        short = self.settings.short_side or round(size * 256 / 224)
        reduction = photo.best_reduction(min(photo.height, photo.width) / short)
        pixels = torch.from_numpy(photo.decode(reduction)).permute(2, 0, 1)
        scale = short / min(photo.height, photo.width)
        sides = [max(short, round(photo.height * scale)), max(short, round(photo.width * scale))]
        resized = functional.resize(pixels, sides, interpolation=InterpolationMode.BICUBIC, antialias=True)
        return functional.center_crop(resized, [size, size]).contiguous()


def extract_features(
    network: FeatureNetwork,
    paths: Sequence[str],
    settings: FeatureSettings | None = None,
    cache: str | os.PathLike | None = None,
    batch_size: int = 64,
    num_workers: int = 0,
) -> np.ndarray:
    """Mean features of photos, from the disk where they were made before.

    Args:
        network: The backbone.
        paths: Of the photos.
        settings: Sizes; default: 224 px from the middle.
        cache: A folder. A file in it is named by the hash of the checkpoint's bytes, the stage, the settings, and the
            photos' paths, sizes and times of change, so that features of another checkpoint or of other photos are never
            taken.
        batch_size: Photos at a time.
        num_workers: Processes that read photos; 0: this one.

    Returns:
        float32 (photos, channels).

    Raises:
        InputError: A photo cannot be read, its features are not finite, or a file of the cache is damaged or not what its
            name says.
    """
    settings = settings or FeatureSettings()
    if not len(paths):
        raise InputError("no photos to extract features of.")
    key = None if cache is None else _key(network, paths, settings)
    if cache is not None and key is not None:
        file = Path(cache) / f"{network.sha256[:16]}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
        if file.exists():
            print_log(f"features of {len(paths)} photos are taken from {file}", logger="current")
            return _read(file, key, len(paths))
    features = _extract(network, paths, settings, batch_size, num_workers)
    if cache is not None and key is not None:
        try:
            with atomic_file(file) as stream:
                np.savez(stream, features=features, key=np.frombuffer(key.encode(), dtype=np.uint8))
        except OSError as error:
            raise InputError(f"{file}: features cannot be kept there ({error.strerror}). Choose another folder.") from error
    return features


def _extract(
    network: FeatureNetwork, paths: Sequence[str], settings: FeatureSettings, batch_size: int, num_workers: int
) -> np.ndarray:
    found = []
    loader = DataLoader(CentreCrops(paths, settings), batch_size, num_workers=num_workers)
    for images in loader:
        features = network(images)
        if settings.mirror:
            features = (features + network(images.flip(-1))) / 2
        bad = ~features.isfinite().all(1)
        if bool(bad.any()):
            photo = paths[len(found) * batch_size + int(bad.int().argmax())]
            raise InputError(
                f"{network.name}: its features of {photo} are not finite, so the weights are damaged or diverged. Take an "
                "earlier checkpoint."
            )
        found.append(features.cpu())
    return torch.cat(found).numpy()


def _key(network: FeatureNetwork, paths: Sequence[str], settings: FeatureSettings) -> str:
    digest = hashlib.sha256()
    for path in paths:
        file = TarAddress.parse(path).shard if path.startswith("tar://") else path
        try:
            status = os.stat(file)
        except OSError as error:
            raise InputError(f"{path}: the photo cannot be read ({error.strerror}). Check the path.") from error
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="surrogateescape"))
    about = {"version": _VERSION, "checkpoint": network.sha256, "stage": network.stage, "photos": digest.hexdigest()}
    return json.dumps(about | asdict(settings), sort_keys=True)


def _read(file: Path, key: str, count: int) -> np.ndarray:
    remedy = "Delete it; it is made anew."
    try:
        with np.load(file, allow_pickle=False) as content:
            held, features = content["key"].tobytes().decode(), content["features"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{file}: not a readable file of features ({error}). {remedy}") from error
    if held != key or features.shape[:1] != (count,):
        raise InputError(f"{file}: holds features of another checkpoint or of other photos than its name says. {remedy}")
    return np.asarray(features, dtype=np.float32)
