"""Box laws: matched boxes in two views of one image (SCRL section 3.2, as the authors' released code draws them)."""
from abc import ABC, abstractmethod

import numpy as np

from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS
from mmsscl.structures.view_geometry import ViewGeometry, shared_region

# Candidates drawn at a time. An image needs 11.7 on average, so the first draw nearly always suffices.
_FIRST_DRAW, _NEXT_DRAW = 20, 60


def shared_extent(geometry: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measures the region that two views share.

    Args:
        geometry: (2, 5): x, y, w, h in image pixels and flip, of both views.
        size: Side of the square views in pixels.

    Returns:
        region: float64 (4,), xyxy in image pixels.
        scale: (2,), pixels of the coarser view per image pixel, along x and y; the coarser view is the one with the
            larger crop, axis by axis.
        extent: (2,), width and height of the region in pixels of the coarser view; 0 or less where nothing is shared.
    """
    geometry = geometry.astype(np.float64)
    region = shared_region(geometry[0], geometry[1])
    scale = size / np.maximum(geometry[0, 2:4], geometry[1, 2:4])
    return region, scale, (region[2:] - region[:2]) * scale


def _conflicts(corners: np.ndarray, max_iou: float) -> list[int]:
    """For each of n boxes (4, n) a bit mask of the boxes it overlaps with by ``max_iou`` or more."""
    x1, y1, x2, y2 = corners
    width = np.minimum(x2, x2[:, None]) - np.maximum(x1, x1[:, None])
    height = np.minimum(y2, y2[:, None]) - np.maximum(y1, y1[:, None])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    area = (x2 - x1) * (y2 - y1)
    overlap = shared >= max_iou * (area + area[:, None] - shared)
    rows = np.packbits(overlap, axis=1, bitorder="little")
    stride, packed = rows.shape[1], rows.tobytes()
    return [int.from_bytes(packed[i : i + stride], "little") for i in range(0, len(packed), stride)]


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
        self, geometry: np.ndarray, size: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws the boxes of one pair.

        Args:
            geometry: (2, 5): x, y, w, h in image pixels and flip, of both views.
            size: Side of the square views in pixels.
            generator: The sample's "box" stream.

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
    def _candidates(self, extent: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
        """Draws ``count`` boxes in a region of ``extent`` (2, 1) = width, height: (4, count), xyxy from its corner."""

    def sample(
        self, geometry: np.ndarray, size: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        region, scale, extent = shared_extent(geometry, size)
        views = ViewGeometry(geometry.astype(np.float64), size)
        if extent.min() <= self.min_size:
            if extent.min() <= 0:
                filler = np.array([[0.0, 0.0, size, size]])
            else:
                filler = views.clip(views.boxes_to_view(region[None]))[:, 0]
            boxes = np.empty((2, self.num_boxes, 4), dtype=np.float32)
            boxes[:] = filler[:, None]
            return boxes, np.zeros(self.num_boxes, dtype=bool)

        corners, _ = self.choose(extent[:, None], generator)
        in_image = corners.T / np.concatenate([scale, scale]) + np.concatenate([region[:2], region[:2]])
        boxes = views.boxes_to_view(in_image)
        if self.jitter:
            sides = boxes[1, :, 2:] - boxes[1, :, :2]
            shift = generator.uniform(-self.jitter, self.jitter, size=(self.num_boxes, 2, 2))
            boxes[1] += (shift * sides[:, None]).reshape(self.num_boxes, 4)
        return boxes.clip(0, size).astype(np.float32), np.ones(self.num_boxes, dtype=bool)

    def choose(self, extent: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, int]:
        """Greedy rejection over a stream of candidates: a box is retried while it overlaps an accepted one.

        The IoU is taken before the boxes are mapped to view 1: scaling an axis or mirroring it does not change it.

        Args:
            extent: (2, 1): width and height of the shared region in pixels of the coarser view.
            generator: The sample's "box" stream.

        Returns:
            (4, K) x1, y1, x2, y2 from the region's corner, and the number of candidates used.
        """
        pool = self._candidates(extent, max(_FIRST_DRAW, self.num_boxes), generator)
        rows = _conflicts(pool, self.max_iou)
        kept: list[int] = []
        taken, candidate, failed, used = 0, 0, 0, 0
        while True:
            if candidate == len(rows):
                more = self._candidates(extent, _NEXT_DRAW, generator)
                pool = np.concatenate([pool[:, kept], more], axis=1)
                rows = _conflicts(pool, self.max_iou)
                candidate, kept = len(kept), list(range(len(kept)))
                taken = (1 << candidate) - 1
            used += 1
            if rows[candidate] & taken and failed < self.tries - 1:
                failed += 1
            else:
                kept.append(candidate)
                if len(kept) == self.num_boxes:
                    return pool[:, kept], used
                taken |= 1 << candidate
                failed = 0
            candidate += 1


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

    def _candidates(self, extent: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
        draws = generator.random((4, 2, count))
        cells = np.floor(draws[0] * np.floor(extent / self.min_size)) + 1
        cell = extent / cells
        # extent / (extent / min_size) may round to a hair below min_size.
        side = self.min_size + np.floor(draws[1] * np.maximum(np.floor(cell) - self.min_size + 1, 1))
        low = np.floor(draws[2] * cells) * cell + draws[3] * np.maximum(cell - side, 0)
        return np.concatenate([low, low + side])


@TRANSFORMS.register_module()
class FreeBoxes(_RandomBoxes):
    """Boxes of uniform size at a uniform place: side U[min_size, shared side) on each axis, no grid.

    The alternative law of the authors' code, off there. The boxes are larger and overlap more than ``GridBoxes``'; the
    arguments are the same.
    """

    def _candidates(self, extent: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
        draws = generator.random((2, 2, count))
        side = self.min_size + draws[0] * (extent - self.min_size)
        low = draws[1] * (extent - side)
        return np.concatenate([low, low + side])


@TRANSFORMS.register_module()
class WholeViewBox(BoxLaw):
    """One box that is the whole view, always valid: for methods without regions, such as BYOL.

    Needs no overlap, so ``SpatialConsistentPair`` redraws nothing: its crops are two independent ones.
    """

    num_boxes = 1
    min_size = 0

    def sample(
        self, geometry: np.ndarray, size: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        boxes = np.array([[[0, 0, size, size]]] * 2, dtype=np.float32)
        return boxes, np.ones(1, dtype=bool)
