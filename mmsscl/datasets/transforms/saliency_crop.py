"""A crop law that prefers salient places."""
import math

import numpy as np

from mmsscl.datasets.transforms.crops import RandomAreaCrop
from mmsscl.datasets.transforms.integral_image import MapIntegral
from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS
from mmsscl.structures.saliency_map import SaliencyMap


def check_choice(owner: str, lambda_max: float, candidates: int, temperature: float) -> None:
    """Checks the arguments that the saliency-guided laws share.

    Raises:
        InputError: One is outside its range.
    """
    if not 0 <= lambda_max <= 1:
        raise InputError(f"{owner}: lambda_max={lambda_max!r} is a probability; give a value from 0 (off) to 1.")
    if not isinstance(candidates, int) or isinstance(candidates, bool) or candidates < 2:
        raise InputError(f"{owner}: candidates={candidates!r} must be a whole number of at least 2.")
    if not 0 < temperature < math.inf:
        raise InputError(
            f"{owner}: temperature={temperature!r} must be above 0. It divides mean saliencies, which lie in [0, 1]: "
            "0.1 prefers clearly, 1 hardly."
        )


@TRANSFORMS.register_module()
class SaliencyCrop(RandomAreaCrop):
    """``RandomAreaCrop`` whose place is drawn where the image is salient; area, aspect ratio and flip stay as they are.

    Built from the abstract of SGCL (arXiv 2302.11461), which says that saliency guides the crops, not how; the law and
    its constants are ours. Of ``candidates`` places, drawn uniformly for the crop's size, one is chosen with
    probability ``(1 - g) / n + g softmax(mean saliency inside / temperature)``, ``g = lambda_max * guidance``.

    The first candidate is the plain draw from the "crop" stream, the others and the choice come from the map's own
    stream. So with guidance 0, or without a map, the crop is ``RandomAreaCrop``'s to the bit. Where no random size
    fits (panoramas), the first candidate is that law's central crop and the others are uniform.

    Args:
        area: Least and largest share of the image's area, in (0, 1].
        ratio: Least and largest width / height; its logarithm is uniform.
        flip: Probability of a left-right flip, in [0, 1].
        lambda_max: Probability of a guided choice at guidance 1, in [0, 1]. Below 1 some crops stay plain, so that the
            network goes on seeing what its own map calls background.
        candidates: Places to choose among, at least 2.
        temperature: Of the softmax over mean saliencies, above 0.

    Raises:
        InputError: An argument outside its range.

    Example:
        >>> dict(type="SpatialConsistentPair", views=[dict(type="SaliencyCrop")] * 2, max_iou=0.8)
    """

    def __init__(
        self,
        area: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        lambda_max: float = 0.7,
        candidates: int = 16,
        temperature: float = 0.1,
    ) -> None:
        super().__init__(area, ratio, flip)
        check_choice(type(self).__name__, lambda_max, candidates, temperature)
        self.lambda_max = float(lambda_max)
        self.candidates = candidates
        self.temperature = float(temperature)

    def sample(
        self, image_size: tuple[int, int], generator: np.random.Generator, saliency: SaliencyMap | None = None
    ) -> np.ndarray:
        crop = super().sample(image_size, generator, saliency)
        if saliency is None or saliency.guidance <= 0:
            return crop
        # As many numbers whether they are needed or not: the next crop's draws do not depend on this one's.
        draws = saliency.generator.random(2 * self.candidates)
        if draws[0] < self.lambda_max * saliency.guidance:
            self._move(crop, image_size, saliency, draws[1], draws[2:].reshape(2, -1))
        return crop

    def _move(
        self, crop: np.ndarray, image_size: tuple[int, int], saliency: SaliencyMap, pick: float, places: np.ndarray
    ) -> None:
        """Puts the crop (5,) at the candidate that ``pick``, uniform in [0, 1), falls on; the first is its own place.

        ``places``, uniform (2, candidates - 1) in [0, 1), say where the others lie across and down.
        """
        x, y, w, h = crop[:4].tolist()
        boxes = np.empty((4, self.candidates))
        boxes[0, 0], boxes[1, 0] = x, y
        np.multiply(places, ((image_size[1] - w + 1,), (image_size[0] - h + 1,)), out=boxes[:2, 1:])
        np.floor(boxes[:2], out=boxes[:2])
        np.add(boxes[0], w, out=boxes[2])
        np.add(boxes[1], h, out=boxes[3])
        # The boxes are of one size, so a factor turns their sums into means.
        scale = image_size[0] * image_size[1] / (saliency.values.size * w * h * self.temperature)
        logits = (MapIntegral(saliency.values).sums(boxes.T, image_size) * scale).tolist()
        largest = max(logits)
        weights = [math.exp(logit - largest) for logit in logits]
        left = pick * sum(weights)
        chosen = 0
        for chosen, weight in enumerate(weights):  # noqa: B007 (the last one stays where rounding leaves a rest)
            left -= weight
            if left < 0:
                break
        crop[:2] = boxes[:2, chosen]
