"""Maps that know nothing of the image: what a saliency map must beat, and controls of a training."""
import numpy as np

GAUSSIAN_WIDTH = 0.25
"""Standard deviation of the centred Gaussian as a share of each side."""


def gaussian_map(size: int | tuple[int, int], width: float = GAUSSIAN_WIDTH) -> np.ndarray:
    """A centred Gaussian: photographers put objects in the middle, so it is the baseline that is hard to beat.

    Args:
        size: (height, width) of the grid, or both in one number; at least 1.
        width: standard deviation as a share of the side, along each axis.

    Returns:
        float32 (height, width), above 0, largest in the middle, at most 1.

    Example:
        >>> gaussian_map(3).round(2)[1].tolist()
        [0.41, 1.0, 0.41]
    """
    height, across = (size, size) if isinstance(size, int) else size
    down, right = (
        np.exp(-0.5 * (((np.arange(count) + 0.5) / count - 0.5) / width) ** 2) for count in (height, across)
    )
    return np.outer(down, right).astype(np.float32)


def uniform_map(size: int | tuple[int, int]) -> np.ndarray:
    """The same value everywhere: float32 (height, width) of 0.5."""
    return np.full((size, size) if isinstance(size, int) else size, 0.5, np.float32)
