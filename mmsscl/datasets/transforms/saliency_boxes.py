"""A box law that prefers salient regions."""
import numpy as np

from mmsscl.datasets.transforms.boxes import GridBoxes, SharedRegion
from mmsscl.datasets.transforms.integral_image import MapIntegral
from mmsscl.datasets.transforms.saliency_crop import check_choice
from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS
from mmsscl.structures.saliency_map import SaliencyMap


@TRANSFORMS.register_module()
class SaliencyBoxes(GridBoxes):
    """``GridBoxes`` of which some are drawn where the image is salient.

    Built from the abstract of SGCL (arXiv 2302.11461), which knows crops, not boxes; the law and its constants are
    ours. The plain boxes are drawn first, from the "box" stream. Of the ``guided`` last ones each is then given up with
    probability ``guidance``. As many are chosen anew from a pool, those given up and ``candidates`` more of the grid
    law, by the Gumbel-top-k trick: without replacement, in proportion to ``exp(mean saliency inside / temperature)``.
    A candidate whose IoU with a box already taken is ``max_iou`` or more is passed over, unless the pool runs out.

    The boxes kept are a plain draw of so many, so a part of the boxes covers the background whatever the map says.
    With guidance 0, or without a map, all boxes are ``GridBoxes``' to the bit.

    Args:
        num_boxes: Boxes per pair.
        min_size: As in ``GridBoxes``, like ``max_iou``, ``tries`` and ``jitter``.
        max_iou: See above.
        tries: See above.
        jitter: See above.
        guided: How many of the boxes saliency may choose, 0 to ``num_boxes``; default: 7 of 10, rounded.
        candidates: Further candidates of the grid law, at least 2.
        temperature: Of the choice, above 0.

    Raises:
        InputError: A value outside its range.

    Example:
        >>> dict(type="SpatialConsistentPair", boxes=dict(type="SaliencyBoxes", num_boxes=10, guided=7))
    """

    def __init__(
        self,
        num_boxes: int = 10,
        min_size: int = 32,
        max_iou: float = 0.5,
        tries: int = 50,
        jitter: float = 0.0,
        guided: int | None = None,
        candidates: int = 30,
        temperature: float = 0.1,
    ) -> None:
        super().__init__(num_boxes, min_size, max_iou, tries, jitter)
        check_choice(type(self).__name__, 1.0, candidates, temperature)
        if guided is None:
            guided = round(0.7 * num_boxes)
        if not isinstance(guided, int) or isinstance(guided, bool) or not 0 <= guided <= num_boxes:
            raise InputError(
                f"{type(self).__name__}: guided={guided!r} must be a whole number from 0 to num_boxes={num_boxes}."
            )
        self.guided = guided
        self.candidates = candidates
        self.temperature = float(temperature)

    def _select(
        self,
        region: SharedRegion,
        generator: np.random.Generator,
        saliency: SaliencyMap | None,
        image_size: tuple[int, int] | None,
    ) -> np.ndarray:
        plain, _ = self.choose(region, generator)
        if saliency is None or saliency.guidance <= 0 or not self.guided:
            return plain
        if image_size is None:
            raise InputError(
                f"{type(self).__name__}: a saliency map without image_size; give the (height, width) of the image."
            )
        anew = int((saliency.generator.random(self.guided) < saliency.guidance).sum())
        if anew:
            kept = self.num_boxes - anew
            pool = np.concatenate([plain[kept:], self._candidates(region, self.candidates, saliency.generator)])
            gumbel = saliency.generator.gumbel(size=len(pool))
            in_image = pool / ((region.scale_x, region.scale_y) * 2) + ((region.left, region.top) * 2)
            means = MapIntegral(saliency.values).means(in_image, image_size)
            order = np.argsort(-(means / self.temperature + gumbel))
            plain[kept:] = self._apart(plain[:kept], pool[order], anew)
        return plain

    def _apart(self, kept: np.ndarray, pool: np.ndarray, count: int) -> np.ndarray:
        """The first ``count`` boxes of the pool that overlap little with those kept and each other, xyxy.

        Where there are too few, the first of those passed over fill up.
        """
        # As in GridBoxes.choose: comparisons first, and no division.
        share = self.max_iou / (1 + self.max_iou)
        taken = kept.tolist()
        passed = []
        last = len(taken) + count
        for box in pool.tolist():
            x1, y1, x2, y2 = box
            area = (x2 - x1) * (y2 - y1)
            for a1, b1, a2, b2 in taken:
                if a1 < x2 and x1 < a2 and b1 < y2 and y1 < b2:
                    across = (x2 if x2 < a2 else a2) - (x1 if x1 > a1 else a1)
                    down = (y2 if y2 < b2 else b2) - (y1 if y1 > b1 else b1)
                    if across * down >= share * (area + (a2 - a1) * (b2 - b1)):
                        passed.append(box)
                        break
            else:
                taken.append(box)
                if len(taken) == last:
                    break
        return np.array((taken + passed)[last - count : last])
