"""Two views of one image with their geometry and matched boxes."""
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from torch.nn import functional

from mmsscl.datasets.transforms.boxes import BoxLaw, shared_region
from mmsscl.datasets.transforms.crops import CropLaw
from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS
from mmsscl.structures.saliency_map import SaliencyMap


def _build(config: Any, kind: type, key: str) -> Any:
    law = TRANSFORMS.build(config) if isinstance(config, dict) else config
    if not isinstance(law, kind):
        raise InputError(
            f"SpatialConsistentPair: {key}={config!r} is no {kind.__name__}. "
            f"Give a config such as dict(type={'RandomAreaCrop' if kind is CropLaw else 'GridBoxes'!r})."
        )
    return law


def snap_to_reduction(geometry: np.ndarray, reduction: int, image_size: tuple[int, int]) -> np.ndarray:
    """Rounds a crop to the pixel grid of an image decoded at 1 / ``reduction`` of its size.

    Args:
        geometry: float32 (5,): x, y, w, h in image pixels, flip.
        reduction: 1, 2, 4 or 8.
        image_size: (height, width) of the image in its own pixels.

    Returns:
        float32 (5,) whose x, y, w, h are multiples of ``reduction``, inside the image, at least one decoded pixel wide
        where the image has a whole one.
    """
    if reduction == 1:
        return geometry
    snapped = geometry.copy()
    for axis, length in ((0, image_size[1]), (1, image_size[0])):
        # Decoded pixels that lie wholly inside the image: the last one may hang over its edge.
        count = max(1, length // reduction)
        low = min(round(float(geometry[axis]) / reduction), count - 1)
        high = min(max(round(float(geometry[axis] + geometry[axis + 2]) / reduction), low + 1), count)
        snapped[axis] = low * reduction
        snapped[axis + 2] = (high - low) * reduction
    return snapped


def crop_iou(geometry: np.ndarray) -> float:
    """IoU of two crops in the image, from their geometry (2, 5): x, y, w, h, flip."""
    (x1, y1, w1, h1, _), (x2, y2, w2, h2, _) = geometry.tolist()
    across, down = min(x1 + w1, x2 + w2) - max(x1, x2), min(y1 + h1, y2 + h2) - max(y1, y2)
    shared = max(0.0, across) * max(0.0, down)
    return shared / (w1 * h1 + w2 * h2 - shared)


def cut_view(pixels: np.ndarray, geometry: np.ndarray, reduction: int, size: int) -> torch.Tensor:
    """Crops, resizes (antialiased bicubic) and flips.

    Args:
        pixels: uint8 (H, W, 3), the image decoded at 1 / ``reduction`` of its size.
        geometry: (5,): x, y, w, h in pixels of the full image, multiples of ``reduction``; flip.
        reduction: See above.
        size: Side of the square view in pixels.

    Returns:
        uint8 (3, size, size), contiguous.
    """
    x, y, w, h = (int(value) // reduction for value in geometry[:4])
    # A fresh (h, w, 3) block seen as (1, 3, h, w) is channels-last: torch's fast uint8 kernel.
    crop = torch.from_numpy(np.ascontiguousarray(pixels[y : y + h, x : x + w])).permute(2, 0, 1)[None]
    view = functional.interpolate(crop, size=(size, size), mode="bicubic", antialias=True)[0]
    if geometry[4]:
        view = view.flip(-1)
    return view.contiguous()


@TRANSFORMS.register_module()
class SpatialConsistentPair(BaseTransform):
    """Cuts two views from an image and draws boxes that match between them (SCRL section 3.2).

    The geometry is drawn first, from the sample's "crop" stream, and drawn again while the crops share too little for
    boxes; boxes come from the "box" stream. Only then is the image decoded, at a reduced size where both crops are so
    large that nothing is lost, and each view's pixels are touched once: cropped, resized (antialiased bicubic) and
    flipped.

    Required keys: ``image`` (EncodedImage), ``streams`` (RandomStreams); ``saliency`` (SaliencyMap) is handed to the
    crop and box laws where there is one, to the box law with a stream of its own ("box_saliency").

    Added keys:

    - ``views``: list of 2 uint8 tensors (3, size, size), RGB, contiguous.
    - ``geometry``: float32 (2, 5): x, y, w, h in image pixels, flip.
    - ``boxes``: float32 (2, K, 4): xyxy in view pixels, after the flip.
    - ``valid``: bool (K,).
    - ``decoded``: the reduction, and the image's pixels at it, uint8 (H, W, 3), for transforms that cut more.

    Args:
        size: Side of the square views in pixels.
        views: Two crop laws (configs or objects), one for each view.
        boxes: The box law (config or object).
        max_redraws: How often a pair of crops that shares too little is drawn again. After that the last pair stays,
            with all its boxes invalid.
        min_overlap: Crops are drawn again while they share this many pixels of the coarser view or fewer on an axis.
            Default: the box law's ``min_size``.
        max_iou: Where saliency guides the sample, crops are drawn again while their IoU is above this: two crops that
            are both drawn to one object would else show the same pixels. ``None``: they may coincide. Samples without
            guidance are never drawn again for this.

    Raises:
        InputError: An argument outside its range, or a law that is none.

    Example:
        >>> dict(type="SpatialConsistentPair", size=224, views=[dict(type="RandomAreaCrop")] * 2,
        ...      boxes=dict(type="GridBoxes", num_boxes=10))
    """

    def __init__(
        self,
        size: int = 224,
        views: Any = ({"type": "RandomAreaCrop"}, {"type": "RandomAreaCrop"}),
        boxes: Any = {"type": "GridBoxes"},  # noqa: B006 (read only)
        max_redraws: int = 10,
        min_overlap: float | None = None,
        max_iou: float | None = None,
    ) -> None:
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise InputError(f"SpatialConsistentPair: size={size!r} must be a view's side in whole pixels, e.g. 224.")
        if not isinstance(views, (list, tuple)) or len(views) != 2:
            raise InputError(f"SpatialConsistentPair: views={views!r} must be a list of two crop laws, one a view.")
        if not isinstance(max_redraws, int) or isinstance(max_redraws, bool) or max_redraws < 0:
            raise InputError(f"SpatialConsistentPair: max_redraws={max_redraws!r} must be a whole number from 0.")
        if max_iou is not None and not 0 < max_iou <= 1:
            raise InputError(f"SpatialConsistentPair: max_iou={max_iou!r} must lie in (0, 1], or be None (no limit).")
        self.size = size
        self.max_iou = max_iou
        self.crop_laws: list[CropLaw] = [_build(view, CropLaw, f"views[{i}]") for i, view in enumerate(views)]
        self.box_law: BoxLaw = _build(boxes, BoxLaw, "boxes")
        if self.box_law.min_size >= size:
            raise InputError(
                f"SpatialConsistentPair: boxes of at least min_size={self.box_law.min_size} px do not fit views of "
                f"size={size} px. Lower min_size (16 suits views of about 100 px) or raise size."
            )
        self.max_redraws = max_redraws
        self.min_overlap = float(self.box_law.min_size if min_overlap is None else min_overlap)
        if not 0 <= self.min_overlap < size:
            raise InputError(
                f"SpatialConsistentPair: min_overlap={min_overlap!r} must lie in [0, {size}), pixels of a view."
            )
        # Two independent crops need no overlap at all.
        self._needs_overlap = self.box_law.min_size > 0 or min_overlap is not None

    def transform(self, results: dict) -> dict:
        """Adds both views, their geometry and their boxes; see the class."""
        image, streams, saliency = results["image"], results["streams"], results.get("saliency")
        geometry, reduction = self._draw(image, streams.stream("crop"), saliency)
        if saliency is not None:
            saliency = saliency._replace(generator=streams.stream("box_saliency"))
        boxes, valid = self.box_law.sample(
            geometry, self.size, streams.stream("box"), saliency, (image.height, image.width)
        )
        pixels = image.decode(reduction)
        results["views"] = [cut_view(pixels, view, reduction, self.size) for view in geometry]
        results["geometry"], results["boxes"], results["valid"] = geometry, boxes, valid
        results["decoded"] = (reduction, pixels)
        return results

    def _draw(
        self, image: Any, generator: np.random.Generator, saliency: SaliencyMap | None
    ) -> tuple[np.ndarray, int]:
        image_size = (image.height, image.width)
        limit = self.max_iou if saliency is not None and saliency.guidance > 0 else None
        too_alike = None
        for _ in range(self.max_redraws + 1):
            views = [law.sample(image_size, generator, saliency) for law in self.crop_laws]
            least = min(float(min(view[2], view[3])) for view in views)
            reduction = image.best_reduction(least / self.size)
            # Before the boxes, so that they match the pixels exactly.
            geometry = np.stack([snap_to_reduction(view, reduction, image_size) for view in views])
            if not self._needs_overlap or shared_region(geometry, self.size).least > self.min_overlap:
                if limit is None or crop_iou(geometry) <= limit:
                    return geometry, reduction
                too_alike = geometry, reduction
        # Two crops that are much alike still have boxes; two that share too little have none.
        return too_alike or (geometry, reduction)

    def __repr__(self) -> str:
        laws = ", ".join(type(law).__name__ for law in self.crop_laws)
        return f"{type(self).__name__}(size={self.size}, views=[{laws}], boxes={type(self.box_law).__name__})"
