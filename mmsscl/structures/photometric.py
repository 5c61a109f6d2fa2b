"""The layout of the photometric parameters that travel with a pair of views.

The worker draws them (``DrawPhotometric``), the device applies them (``mmsscl.models.augment``); both sides name the
columns through this module only.
"""
from enum import IntEnum
from itertools import permutations

import numpy as np


class PhotometricColumn(IntEnum):
    """Columns of the float32 photometric row of one view. Pixel values are on the scale 0..255."""

    JITTER_ORDER = 0
    """Index into :data:`JITTER_ORDERS`, 0..23; -1: no colour jitter."""
    BRIGHTNESS = 1
    """Factor; 1 changes nothing."""
    CONTRAST = 2
    """Factor; 1 changes nothing."""
    SATURATION = 3
    """Factor; 1 changes nothing."""
    HUE = 4
    """Shift in turns, -0.5..0.5; 0 changes nothing."""
    GRAY = 5
    """1: turn gray; 0: leave."""
    RESIZE_FACTOR = 6
    """Resize blur: shrink by this factor, then enlarge again; 1: none."""
    BLUR_SIGMA = 7
    """Gaussian blur: standard deviation in pixels; 0: none."""
    SOLARIZE = 8
    """Threshold: values at or above it are inverted; 256: none."""


NUM_PHOTOMETRIC = len(PhotometricColumn)
"""P, the length of one view's photometric row."""

JITTER_OPS: tuple[PhotometricColumn, ...] = (
    PhotometricColumn.BRIGHTNESS,
    PhotometricColumn.CONTRAST,
    PhotometricColumn.SATURATION,
    PhotometricColumn.HUE,
)
"""The four colour jitter operations; each is named by the column that holds its parameter."""

JITTER_ORDERS: tuple[tuple[PhotometricColumn, ...], ...] = tuple(permutations(JITTER_OPS))
"""The 24 orders of the four operations, first applied first."""

SOLARIZE_OFF = 256.0
"""A threshold that no pixel reaches."""


def identity_photometric() -> np.ndarray:
    """The row that changes nothing.

    Returns:
        float32 (P,).

    Example:
        >>> identity_photometric()[PhotometricColumn.HUE]
        np.float32(0.0)
    """
    row = np.zeros(NUM_PHOTOMETRIC, dtype=np.float32)
    row[PhotometricColumn.JITTER_ORDER] = -1
    for column in (PhotometricColumn.BRIGHTNESS, PhotometricColumn.CONTRAST, PhotometricColumn.SATURATION):
        row[column] = 1
    row[PhotometricColumn.RESIZE_FACTOR] = 1
    row[PhotometricColumn.SOLARIZE] = SOLARIZE_OFF
    return row
