"""How good saliency maps are: against object masks, and against object boxes."""
import cv2
import numpy as np

BETA_SQUARED = 0.3
"""Weight of recall in the F measure (Achanta et al., CVPR 2009), used by every saliency benchmark since."""

LEVELS = 256


def stretch(values: np.ndarray) -> np.ndarray:
    """Min-max normalise one map.

    Args:
        values: (h, w), finite.

    Returns:
        float32 (h, w) from 0 to 1; a constant map becomes 0.5 everywhere.
    """
    values = np.asarray(values, np.float32)
    low, high = values.min(), values.max()
    if high <= low:
        return np.full(values.shape, 0.5, np.float32)
    return (values - low) / (high - low)


def enlarge_map(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map at the size of its image: bilinear between cell centres, the outermost half cells constant.

    Args:
        values: float (h, w).
        size: (height, width) of the image.

    Returns:
        float32 (height, width).
    """
    return cv2.resize(np.asarray(values, np.float32), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


class MaskQuality:
    """Scores of maps on images whose objects are given as masks; feed image by image, then :meth:`compute`.

    Every map is min-max normalised (a constant one becomes 0.5) and enlarged to its mask bilinearly. For F and AUC it
    is then rounded to 256 levels.

    - ``mae``: mean over pixels, then images, of |map - mask|; lower is better.
    - ``max_f``: F = 1.3 precision recall / (0.3 precision + recall) at each of 256 thresholds (a pixel is predicted
      where its level is at least the threshold); precision and recall are averaged over the images first, then the
      largest F is taken: the convention of the saliency benchmarks (Borji et al., TIP 2015). Precision is 0 where
      nothing is predicted.
    - ``auc``: area under the ROC curve of each image, ties counting half, mean over the images.
    - ``pointing``: share of images whose largest value lies on the object; where several pixels share the largest
      value, the share of these (so a constant map gets the object's share of the image).

    Images whose mask is empty are left out and counted (``left_out``); one whose mask is full counts for all but ``auc``.
    """

    def __init__(self) -> None:
        self.left_out = 0
        self._rows: list[np.ndarray] = []

    @property
    def images(self) -> int:
        """How many count."""
        return len(self._rows)

    def update(self, values: np.ndarray, mask: np.ndarray) -> None:
        """Add one image.

        Args:
            values: (h, w) map, finite, any range.
            mask: bool (H, W), True on objects.
        """
        inside_count = int(mask.sum())
        if inside_count == 0:
            self.left_out += 1
            return
        full = enlarge_map(stretch(values), (mask.shape[0], mask.shape[1]))
        levels = np.rint(np.clip(full, 0, 1) * (LEVELS - 1)).astype(np.uint8)
        inside = np.bincount(levels[mask], minlength=LEVELS)
        outside = np.bincount(levels[~mask], minlength=LEVELS)
        hits, alarms = (np.cumsum(counts[::-1])[::-1] for counts in (inside, outside))
        area, outside_count = 0.0, mask.size - inside_count
        if outside_count:
            below = np.cumsum(outside) - outside
            area = float((inside * (below + 0.5 * outside)).sum()) / inside_count / outside_count
        absolute = np.abs(full - mask).mean()
        # equal values may differ by rounding once interpolated
        pointing = mask[full >= full.max() - 1e-6].mean()
        precision, recall = hits / np.maximum(hits + alarms, 1), hits / inside_count
        self._rows.append(np.array([*precision, *recall, absolute, area, bool(outside_count), pointing, 1]))

    def rows(self) -> np.ndarray:
        """What each image adds to the sums that :meth:`scores` takes: float64 (images, K), in the order they were fed."""
        return np.array(self._rows).reshape(-1, 2 * LEVELS + 5)

    @staticmethod
    def scores(sums: np.ndarray) -> dict[str, np.ndarray]:
        """The scores of images by the sums of their :meth:`rows`.

        Args:
            sums: float64 (..., K).

        Returns:
            ``mae``, ``max_f``, ``auc``, ``pointing``, each (...), in [0, 1]; nan where no image has one.
        """
        curves, (absolute, area, with_background, pointing, images) = sums[..., :-5], np.moveaxis(sums[..., -5:], -1, 0)
        precision, recall = curves[..., :LEVELS], curves[..., LEVELS:]
        below = BETA_SQUARED * precision + recall
        f = (1 + BETA_SQUARED) * precision * recall / np.where(below > 0, below, 1)
        return {
            "mae": _share(absolute, images),
            "max_f": _share(f.max(-1), images),
            "auc": _share(area, with_background),
            "pointing": _share(pointing, images),
        }

    def compute(self) -> dict[str, float]:
        """The scores of all images; ``nan`` without one."""
        return _floats(self.scores(self.rows().sum(0)))


class BoxQuality:
    """Scores of maps on images whose objects are given as boxes; feed image by image, then :meth:`compute`.

    Maps are enlarged to the image bilinearly.

    - ``corloc``: share of images in which the tight box around all pixels at or above the map's mean overlaps some
      object's box with IoU at least 0.5.
    - ``corloc_part``: the same with the tight box around the largest connected part (8-neighbours) of those pixels, as
      object discovery does it; a scene's many objects otherwise join to one box.
    - ``mass_inside``: share of the map's sum inside the union of the boxes, mean over the images; a constant map gets
      the boxes' share of the image. A map of zeros counts as constant.

    Images without a box are left out and counted (``left_out``).
    """

    def __init__(self) -> None:
        self.left_out = 0
        self._rows: list[list[float]] = []

    @property
    def images(self) -> int:
        """How many count."""
        return len(self._rows)

    def update(self, values: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> None:
        """Add one image.

        Args:
            values: (h, w) map, finite, at least 0.
            boxes: (K, 4) xyxy in image pixels, inside the image.
            size: (height, width) of the image.
        """
        if len(boxes) == 0:
            self.left_out += 1
            return
        full = enlarge_map(values, size)
        # a constant map's mean may differ from it by rounding
        foreground = (full >= full.mean(dtype=np.float64) - 1e-6).astype(np.uint8)
        found = _best_iou(_tight_box(foreground), boxes) >= 0.5
        _, parts, figures, _ = cv2.connectedComponentsWithStats(foreground, connectivity=8)
        largest = 1 + int(np.argmax(figures[1:, cv2.CC_STAT_AREA]))
        found_part = _best_iou(_tight_box(parts == largest), boxes) >= 0.5
        self._rows.append([found, found_part, _mass_inside(full, boxes), 1])

    def rows(self) -> np.ndarray:
        """What each image adds to the sums that :meth:`scores` takes: float64 (images, K), in the order they were fed."""
        return np.array(self._rows, np.float64).reshape(-1, 4)

    @staticmethod
    def scores(sums: np.ndarray) -> dict[str, np.ndarray]:
        """The scores of images by the sums of their :meth:`rows`.

        Args:
            sums: float64 (..., K).

        Returns:
            ``corloc``, ``corloc_part``, ``mass_inside``, each (...), in [0, 1]; nan where there is no image.
        """
        found, found_part, mass, images = np.moveaxis(sums, -1, 0)
        parts = {"corloc": found, "corloc_part": found_part, "mass_inside": mass}
        return {name: _share(part, images) for name, part in parts.items()}

    def compute(self) -> dict[str, float]:
        """The scores of all images; ``nan`` without one."""
        return _floats(self.scores(self.rows().sum(0)))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)


def _floats(scores: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: float(value) for name, value in scores.items()}


def _mass_inside(full: np.ndarray, boxes: np.ndarray) -> float:
    inside = np.zeros(full.shape, bool)
    for x1, y1, x2, y2 in np.rint(boxes).astype(int):
        inside[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)] = True
    total = float(full.sum(dtype=np.float64))
    return float(full[inside].sum(dtype=np.float64)) / total if total > 0 else float(inside.mean())


def _tight_box(foreground: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(foreground.any(1)), np.flatnonzero(foreground.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)


def _best_iou(box: np.ndarray, boxes: np.ndarray) -> float:
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.clip(sides, 0, None).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return float((shared / ((box[2:] - box[:2]).prod() + areas - shared)).max())
