"""Crop laws: where in the image a view is cut, drawn before any pixel is touched."""
import math
from abc import ABC, abstractmethod

import numpy as np

from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS
from mmsscl.structures.saliency_map import SaliencyMap


class CropLaw(ABC):
    """Draws the geometry of one view; a strategy that ``SpatialConsistentPair`` composes."""

    @abstractmethod
    def sample(
        self, image_size: tuple[int, int], generator: np.random.Generator, saliency: SaliencyMap | None = None
    ) -> np.ndarray:
        """Draws one crop.

        Args:
            image_size: (height, width) of the image in pixels, both at least 1.
            generator: The sample's "crop" stream.
            saliency: What is known of where the objects are; laws that do not need it ignore it.

        Returns:
            float32 (5,): x, y, w, h in whole image pixels, inside the image and at least 1 px a side; flip 0 or 1.
        """


@TRANSFORMS.register_module()
class RandomAreaCrop(CropLaw):
    """A crop of random area and aspect ratio at a uniform place, flipped at random (SCRL section 4.1, as BYOL's views).

    The law is that of torchvision's ``RandomResizedCrop`` followed by ``RandomHorizontalFlip``: up to 10 tries, then a
    central crop as large as the aspect ratio allows. Each sample takes the same number of draws from the stream.

    Args:
        area: Least and largest share of the image's area, in (0, 1].
        ratio: Least and largest width / height; its logarithm is uniform.
        flip: Probability of a left-right flip, in [0, 1].

    Raises:
        InputError: A range that is empty or outside the values above.
    """

    tries = 10

    def __init__(
        self, area: tuple[float, float] = (0.2, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3), flip: float = 0.5
    ) -> None:
        if len(area) != 2 or not 0 < area[0] <= area[1] <= 1:
            raise InputError(f"RandomAreaCrop: area={area!r} must be two shares of an image, 0 < least <= most <= 1.")
        if len(ratio) != 2 or not 0 < ratio[0] <= ratio[1]:
            raise InputError(f"RandomAreaCrop: ratio={ratio!r} must be two widths / heights, 0 < least <= most.")
        if not 0 <= flip <= 1:
            raise InputError(f"RandomAreaCrop: flip={flip!r} is a probability; give a value from 0 to 1.")
        self.area = (float(area[0]), float(area[1]))
        self.ratio = (float(ratio[0]), float(ratio[1]))
        self.log_ratio = (math.log(ratio[0]), math.log(ratio[1]))
        self.flip = float(flip)

    def sample(
        self, image_size: tuple[int, int], generator: np.random.Generator, saliency: SaliencyMap | None = None
    ) -> np.ndarray:
        height, width = image_size
        # One call for all tries; the arithmetic is on Python floats, which beat arrays of ten.
        draws = generator.random(2 * self.tries + 3).tolist()
        across, down, flip = draws[-3:]
        w, h = self._central(height, width)
        x, y = (width - w) // 2, (height - h) // 2
        (least, largest), (narrow, wide) = self.area, self.log_ratio
        for i in range(0, 2 * self.tries, 2):
            area = height * width * (least + (largest - least) * draws[i])
            aspect = math.exp(narrow + (wide - narrow) * draws[i + 1])
            try_w, try_h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < try_w <= width and 0 < try_h <= height:
                w, h = try_w, try_h
                x, y = int(across * (width - w + 1)), int(down * (height - h + 1))
                break
        return np.array([x, y, w, h, flip < self.flip], dtype=np.float32)

    def _central(self, height: int, width: int) -> tuple[int, int]:
        least, largest = self.ratio
        if width / height < least:
            return width, min(height, max(1, round(width / least)))
        if width / height > largest:
            return min(width, max(1, round(height * largest))), height
        return width, height


@TRANSFORMS.register_module()
class WholeImage(CropLaw):
    """The whole image, never flipped: for evaluation and for tests that need a known geometry."""

    def sample(
        self, image_size: tuple[int, int], generator: np.random.Generator, saliency: SaliencyMap | None = None
    ) -> np.ndarray:
        return np.array([0, 0, image_size[1], image_size[0], 0], dtype=np.float32)
