"""Box laws: matched boxes in two views of one image (SCRL section 3.2, as the authors' released code draws them)."""
from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS
from mmsscl.structures.saliency_map import SaliencyMap

# Candidates drawn at a time. An image needs 12 on average, so the first draw nearly always suffices.
_FIRST_DRAW, _NEXT_DRAW = 20, 60


class SharedRegion(NamedTuple):
    """The region that two views share; plain floats, which beat arrays of two by far.

    "Coarser" is the view with the larger crop, axis by axis.
    """

    left: float
    """Left edge in image pixels."""
    top: float
    """Top edge in image pixels."""
    scale_x: float
    """Pixels of the coarser view per image pixel."""
    scale_y: float
    width: float
    """Width in pixels of the coarser view; 0 or less where nothing is shared."""
    height: float

    @property
    def least(self) -> float:
        """The shorter side in pixels of the coarser view; 0 or less where nothing is shared."""
        return min(self.width, self.height)


def shared_region(geometry: np.ndarray, size: int) -> SharedRegion:
    """Measures the region that two views share.

    Args:
        geometry: (2, 5): x, y, w, h in image pixels and flip, of both views.
        size: Side of the square views in pixels.

    Returns:
        The region.
    """
    (x1, y1, w1, h1, _), (x2, y2, w2, h2, _) = geometry.tolist()
    scale_x, scale_y = size / max(w1, w2), size / max(h1, h2)
    left, top = max(x1, x2), max(y1, y2)
    width, height = min(x1 + w1, x2 + w2) - left, min(y1 + h1, y2 + h2) - top
    return SharedRegion(left, top, scale_x, scale_y, width * scale_x, height * scale_y)


def _to_views(boxes: np.ndarray, region: SharedRegion, geometry: np.ndarray, size: int) -> np.ndarray:
    """Maps boxes (K, 4), in coarser-view pixels from the region's corner, to both views: (2, K, 4), unclipped.

    The same map as ``ViewGeometry.boxes_to_view``, with both views and all edges in one multiplication.
    """
    gain, offset, flipped = [], [], []
    for x, y, w, h, flip in geometry.tolist():
        across, down = size / w, size / h
        left, top = (region.left - x) * across, (region.top - y) * down
        across, down = across / region.scale_x, down / region.scale_y
        if flip:
            across, left = -across, size - left
        gain.append(((across, down, across, down),))
        offset.append(((left, top, left, top),))
        flipped.append(bool(flip))
    mapped = boxes * np.array(gain) + np.array(offset)
    for view, flip in zip(mapped, flipped):
        if flip:
            view[:, 0::2] = view[:, 2::-2]
    return mapped


class BoxLaw(ABC):
    """Draws boxes that cover the same image regions in two views.

    Attributes:
        num_boxes: Boxes per pair, K; the shape is the same for every pair.
        min_size: The views must share more than this many pixels (of the coarser view) on each axis to get boxes.
    """

    num_boxes: int
    min_size: int

    @abstractmethod
    def sample(
        self,
        geometry: np.ndarray,
        size: int,
        generator: np.random.Generator,
        saliency: SaliencyMap | None = None,
        image_size: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws the boxes of one pair.

        Args:
            geometry: (2, 5): x, y, w, h in image pixels and flip, of both views.
            size: Side of the square views in pixels.
            generator: The sample's "box" stream.
            saliency: What is known of where the objects are; laws that do not need it ignore it.
            image_size: (height, width) of the image in pixels, for laws that use ``saliency``.

        Returns:
            boxes: float32 (2, K, 4), xyxy in view pixels (after the flip), inside the view; row k of both views is the
                same image region.
            valid: bool (K,). Where False the box is a filler: the region the views share, or the whole views where
                they share none.
        """


class _RandomBoxes(BoxLaw):
    """What the grid and the free law have in common: everything but how one candidate is drawn."""

    def __init__(
        self, num_boxes: int = 10, min_size: int = 32, max_iou: float = 0.5, tries: int = 50, jitter: float = 0.0
    ) -> None:
        name = type(self).__name__
        for key, value in (("num_boxes", num_boxes), ("min_size", min_size), ("tries", tries)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"{name}: {key}={value!r} must be a whole number of at least 1.")
        if not 0 < max_iou <= 1:
            raise InputError(f"{name}: max_iou={max_iou!r} must lie in (0, 1]; 1 rejects only equal boxes.")
        if not 0 <= jitter < 0.5:
            raise InputError(f"{name}: jitter={jitter!r} is a share of the box's side; give 0 (off) up to below 0.5.")
        self.num_boxes = num_boxes
        self.min_size = min_size
        self.max_iou = float(max_iou)
        self.tries = tries
        self.jitter = float(jitter)

    @abstractmethod
    def _candidates(self, region: SharedRegion, count: int, generator: np.random.Generator) -> np.ndarray:
        """Draws boxes: (count, 4), xyxy in pixels of the coarser view from the region's top-left corner."""

    def sample(
        self,
        geometry: np.ndarray,
        size: int,
        generator: np.random.Generator,
        saliency: SaliencyMap | None = None,
        image_size: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        region = shared_region(geometry, size)
        if region.least > self.min_size:
            boxes = _to_views(self._select(region, generator, saliency, image_size), region, geometry, size)
            if self.jitter:
                sides = boxes[1, :, 2:] - boxes[1, :, :2]
                shift = generator.uniform(-self.jitter, self.jitter, size=(self.num_boxes, 2, 2))
                boxes[1] += (shift * sides[:, None]).reshape(self.num_boxes, 4)
        else:
            boxes = np.empty((2, self.num_boxes, 4))
            if region.least > 0:
                boxes[:] = _to_views(np.array([[0.0, 0.0, region.width, region.height]]), region, geometry, size)
            else:
                boxes[:] = (0.0, 0.0, size, size)
        np.minimum(np.maximum(boxes, 0.0, out=boxes), size, out=boxes)
        return boxes.astype(np.float32), np.full(self.num_boxes, region.least > self.min_size)

    def _select(
        self,
        region: SharedRegion,
        generator: np.random.Generator,
        saliency: SaliencyMap | None,
        image_size: tuple[int, int] | None,
    ) -> np.ndarray:
        """The boxes of a pair whose views share enough: (K, 4), as ``choose`` gives them."""
        return self.choose(region, generator)[0]

    def choose(self, region: SharedRegion, generator: np.random.Generator) -> tuple[np.ndarray, int]:
        """Greedy rejection over a stream of candidates: a box is retried while it overlaps an accepted one.

        Candidates are drawn by the array; accepting them is a chain of decisions, and a loop over floats that stops at
        the first overlap beats the matrix of all IoUs. The IoU is taken before the boxes are mapped to view 1: scaling
        an axis or mirroring it does not change it.

        Args:
            region: What the views share, more than ``min_size`` on each axis.
            generator: The sample's "box" stream.

        Returns:
            (K, 4) xyxy in pixels of the coarser view from the region's corner, and the number of candidates used.
        """
        # IoU >= t is shared >= t / (1 + t) * (area + other area).
        share = self.max_iou / (1 + self.max_iou)
        last_try = self.tries - 1
        kept: list[tuple[float, float, float, float, float]] = []
        used = failed = 0
        count = max(_FIRST_DRAW, self.num_boxes)
        while True:
            for x1, y1, x2, y2 in self._candidates(region, count, generator).tolist():
                used += 1
                area = (x2 - x1) * (y2 - y1)
                if failed < last_try:
                    for a1, b1, a2, b2, other in kept:
                        # Most boxes do not touch: find that out by comparisons alone.
                        if a1 < x2 and x1 < a2 and b1 < y2 and y1 < b2:
                            across = (x2 if x2 < a2 else a2) - (x1 if x1 > a1 else a1)
                            down = (y2 if y2 < b2 else b2) - (y1 if y1 > b1 else b1)
                            if across * down >= share * (area + other):
                                failed += 1
                                break
                    else:
                        kept.append((x1, y1, x2, y2, area))
                        failed = 0
                else:
                    kept.append((x1, y1, x2, y2, area))
                    failed = 0
                if len(kept) == self.num_boxes:
                    return np.array(kept)[:, :4], used
            count = _NEXT_DRAW


@TRANSFORMS.register_module()
class GridBoxes(_RandomBoxes):
    """The authors' box law: a random cell of a random grid over the shared region, and a random box inside the cell.

    In pixels of the coarser view, for each box and each axis on its own: the region is cut into U{1..floor(side / min)}
    cells, a cell is picked uniformly, the box's side is U{min..floor(cell side)}, and its place in the cell is uniform.
    A box is drawn again while its IoU in view 1 with an accepted box of the image is ``max_iou`` or more; after
    ``tries`` draws the last is kept.

    Args:
        num_boxes: Boxes per pair.
        min_size: Least side of a box, in pixels of the coarser view. 32 is one cell of a stride-32 map; take 16 for
            images of about 100 px.
        max_iou: IoU at which a candidate is rejected, in (0, 1].
        tries: Draws per box.
        jitter: The second view's box has each edge moved by up to this share of the box's side; 0 switches it off.

    Raises:
        InputError: A value outside its range.

    Example:
        >>> boxes, valid = GridBoxes().sample(geometry, 224, streams.stream("box"))
        >>> boxes.shape, valid.shape
        ((2, 10, 4), (10,))
    """

    def _candidates(self, region: SharedRegion, count: int, generator: np.random.Generator) -> np.ndarray:
        least = self.min_size
        # In place and along the longer axis: at this size an allocation costs as much as the arithmetic.
        cells, side, place, offset = generator.random((4, 2, count))
        cells *= [[region.width // least], [region.height // least]]
        np.floor(cells, out=cells)
        cells += 1.0
        cell = [[region.width], [region.height]] / cells
        # A cell of exactly the least side may have come out a hair below it.
        room = cell + (1e-9 - (least - 1))
        np.floor(room, out=room)
        side *= room
        np.floor(side, out=side)
        side += least
        place *= cells
        np.floor(place, out=place)
        place *= cell
        cell -= side
        offset *= cell
        boxes = np.empty((4, count))
        np.add(place, offset, out=boxes[:2])
        np.add(boxes[:2], side, out=boxes[2:])
        return boxes.T


@TRANSFORMS.register_module()
class FreeBoxes(_RandomBoxes):
    """Boxes of uniform size at a uniform place: side U[min_size, shared side) on each axis, no grid.

    The alternative law of the authors' code, off there. The boxes are larger and overlap more than ``GridBoxes``'; the
    arguments are the same.
    """

    def _candidates(self, region: SharedRegion, count: int, generator: np.random.Generator) -> np.ndarray:
        extent = np.array([region.width, region.height])
        draws = generator.random((2, count, 2))
        side = self.min_size + draws[0] * (extent - self.min_size)
        low = draws[1] * (extent - side)
        return np.concatenate([low, low + side], axis=1)


@TRANSFORMS.register_module()
class WholeViewBox(BoxLaw):
    """One box that is the whole view, always valid: for methods without regions, such as BYOL.

    Needs no overlap, so ``SpatialConsistentPair`` redraws nothing: its crops are two independent ones.
    """

    num_boxes = 1
    min_size = 0

    def sample(
        self,
        geometry: np.ndarray,
        size: int,
        generator: np.random.Generator,
        saliency: SaliencyMap | None = None,
        image_size: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        boxes = np.array([[[0, 0, size, size]]] * 2, dtype=np.float32)
        return boxes, np.ones(1, dtype=bool)
