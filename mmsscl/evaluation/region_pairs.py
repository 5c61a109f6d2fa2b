"""Two views of each photo with matched boxes: the questions of region retrieval."""
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.datasets.transforms import DrawPhotometric, GridBoxes, RandomAreaCrop, SpatialConsistentPair
from mmsscl.datasets.transforms.loading import read_photo
from mmsscl.errors import InputError
from mmsscl.models.augment import apply_photometric_


@dataclass(frozen=True)
class PairSettings:
    """How views and boxes are drawn: as in SCRL's training, but for the distortions.

    Attributes:
        size: Side of the views in pixels.
        num_boxes: Boxes a photo.
        min_size: Least side of a box in pixels of the coarser view.
        seed: A photo's views and boxes are a function of this and of its place in the list.
        photometric: Distort the colors of both views as SCRL's training does.
        batch_size: Photos at a time; changes nothing but speed and memory.
    """

    size: int = 224
    num_boxes: int = 10
    min_size: int = 32
    seed: int = 0
    photometric: bool = False
    batch_size: int = 32


class RegionBatch(NamedTuple):
    """Views and boxes of B photos.

    Attributes:
        paths: Of the photos.
        views: uint8 (2, B, 3, S, S), RGB.
        boxes: float32 (2, B, K, 4), xyxy in view pixels; box k of both views is the same region of the photo.
        valid: bool (B, K); where False there is no such box.
    """

    paths: Sequence[str]
    views: Tensor
    boxes: Tensor
    valid: Tensor


def region_batches(paths: Sequence[str], settings: PairSettings) -> Iterator[RegionBatch]:
    """Draw the views and boxes of photos, in order.

    Args:
        paths: Of the photos, or their addresses in tar files.
        settings: How.

    Raises:
        InputError: No photo, a batch size below 1, a photo that cannot be read or is smaller than the least box, or a
            setting that the crop or the box law refuses.
    """
    if len(paths) == 0:
        raise InputError("there are no photos to draw regions from. Give a folder, a list, a json or tar files of photos.")
    if settings.batch_size < 1:
        raise InputError(f"batch_size={settings.batch_size}: give a whole number from 1.")
    boxes = GridBoxes(settings.num_boxes, settings.min_size)
    pair = SpatialConsistentPair(settings.size, [RandomAreaCrop(), RandomAreaCrop()], boxes)
    for start in range(0, len(paths), settings.batch_size):
        chosen = paths[start : start + settings.batch_size]
        samples = [_sample(path, start + place, pair, settings) for place, path in enumerate(chosen)]
        views = torch.stack([torch.stack(sample["views"]) for sample in samples], dim=1)
        if settings.photometric:
            rows = torch.stack([torch.from_numpy(sample["photometric"]) for sample in samples], dim=1)
            distorted = apply_photometric_(views.flatten(0, 1).float(), rows.flatten(0, 1))
            views = distorted.round_().clamp_(0, 255).to(torch.uint8).view_as(views)
        yield RegionBatch(
            chosen,
            views,
            torch.stack([torch.from_numpy(sample["boxes"]) for sample in samples], dim=1),
            torch.stack([torch.from_numpy(sample["valid"]) for sample in samples]),
        )


def _sample(path: str, index: int, pair: SpatialConsistentPair, settings: PairSettings) -> dict:
    image = read_photo(path)
    if min(image.height, image.width) < settings.min_size:
        raise InputError(
            f"{path}: {image.width} x {image.height} pixels, too small for boxes of at least "
            f"min_size={settings.min_size} px. Lower --min-size, or take the photo out."
        )
    sample = pair.transform({"image": image, "streams": RandomStreams(settings.seed, 0, index)})
    return DrawPhotometric().transform(sample) if settings.photometric else sample
