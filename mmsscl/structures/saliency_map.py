"""What a sample knows of the saliency of its image."""
from typing import NamedTuple

import numpy as np


class SaliencyMap(NamedTuple):
    """The saliency of one image as the view, box and score laws see it.

    The map covers the whole upright image (EXIF rotation applied), squashed to its grid: cell (row, column) is the
    part of the image between rows ``row / h`` and ``(row + 1) / h`` of its height, and likewise across. Row 0 is the top.

    Example:
        >>> import numpy as np
        >>> flat = SaliencyMap(np.full((14, 14), 0.5, np.float32), 0.8, 0.5, np.random.default_rng(0))
        >>> flat.guidance
        0.4
    """

    values: np.ndarray
    """float32 (h, w) in [0, 1]; more is more salient."""
    trust: float
    """How far the map is to be believed, in [0, 1]; 0: flat, as good as none."""
    strength: float
    """Where the schedule's ramp stands in this epoch, in [0, 1]; 0: saliency must change nothing."""
    generator: np.random.Generator
    """The sample's stream "saliency". Draws that saliency causes come from here and from nowhere else, so that the
    plain draws of a sample are the same with and without saliency."""

    @property
    def guidance(self) -> float:
        """How far saliency guides this sample: strength times trust, in [0, 1]."""
        return self.strength * self.trust
