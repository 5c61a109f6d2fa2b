"""Pictures of two views and their matched boxes."""
from collections.abc import Sequence

import cv2
import numpy as np
from torch import Tensor

from mmsscl.structures.view_geometry import ViewGeometry
from mmsscl.visualization.canvas import beside, distinct_colors, enlarge, put_label

CROP_COLORS = ((255, 255, 255), (255, 220, 0))
"""Outlines of view 1 (white) and view 2 (yellow) in the original image."""

Array = np.ndarray | Tensor


def to_pixels(view: Array, mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> np.ndarray:
    """A view as a picture.

    Args:
        view: (3, H, W), RGB: uint8, or float normalised with ``mean`` and ``std``.
        mean: of the three channels on the scale 0 to 255; None if the view is not normalised.
        std: likewise.

    Returns:
        uint8 (H, W, 3), rounded and clipped.
    """
    pixels = _to_numpy(view)
    if pixels.ndim != 3 or pixels.shape[0] != 3:
        raise ValueError(f"view has shape {pixels.shape}; expected (3, H, W)")
    if pixels.dtype != np.uint8:
        pixels = pixels.astype(np.float32)
        if std is not None:
            pixels = pixels * np.asarray(std, np.float32).reshape(3, 1, 1)
        if mean is not None:
            pixels = pixels + np.asarray(mean, np.float32).reshape(3, 1, 1)
        pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def draw_views(
    views: Sequence[Array],
    boxes: Array,
    valid: Array | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    side: int = 320,
) -> np.ndarray:
    """Both views side by side, each box in the same color in both.

    Args:
        views: two views (3, H, W), uint8 or normalised, see :func:`to_pixels`.
        boxes: (2, K, 4) xyxy in view pixels.
        valid: bool (K,); boxes that are not valid are left out. None: all are valid.
        mean: of the three channels, if the views are normalised.
        std: likewise.
        side: height of each view in the picture, in pixels.

    Returns:
        uint8 (side, about 2 * side, 3), RGB.

    Example:
        >>> draw_views(batch["inputs"], pairs["boxes"], pairs["valid"]).dtype
        dtype('uint8')
    """
    boxes = _to_numpy(boxes)
    colors = distinct_colors(boxes.shape[1])
    pictures = []
    for view, view_boxes in zip(views, boxes, strict=True):
        pixels = to_pixels(view, mean, std)
        factor = side / pixels.shape[0]
        picture = enlarge(pixels, factor)
        for index in _valid_indices(valid, len(colors)):
            _outline(picture, view_boxes[index] * factor, colors[index], 2)
        # numbers last: outlines of later boxes would cross them out
        for index in _valid_indices(valid, len(colors)):
            x, y = (int(c) for c in view_boxes[index, :2] * factor)
            put_label(picture, str(index), (x + 2, y + 2), colors[index])
        pictures.append(picture)
    return beside(pictures)


def draw_original(
    image: np.ndarray,
    geometry: Array,
    boxes: Array,
    valid: Array | None = None,
    view_size: int | tuple[int, int] = 224,
    side: int = 640,
    image_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """The original image with both crops and the boxes mapped back into it.

    Each box is drawn twice: thick and colored from view 1, thin and black from view 2. Where the geometry is right the
    thin line runs inside the thick one.

    Args:
        image: uint8 (H, W, 3), RGB; may be smaller than the image that ``geometry`` speaks of, see ``image_size``.
        geometry: (2, 5) [x, y, w, h, flip] in the image's own pixels.
        boxes: (2, K, 4) xyxy in view pixels.
        valid: bool (K,); None: all are valid.
        view_size: side of the square views, or their (height, width).
        side: longer side of the picture, in pixels.
        image_size: (height, width) of the image in its own pixels; None: that of ``image``.

    Returns:
        uint8 RGB picture.
    """
    geometry, boxes = _to_numpy(geometry), _to_numpy(boxes)
    height, width = image.shape[:2] if image_size is None else image_size
    picture = enlarge(image, side / max(image.shape[:2]))
    factor = np.array([picture.shape[1] / width, picture.shape[0] / height] * 2)
    colors = distinct_colors(boxes.shape[1])
    view = ViewGeometry(geometry, view_size)
    for number, crop in enumerate(view.crop):
        _outline(picture, crop * factor, CROP_COLORS[number], 3)
    back = view.boxes_to_image(boxes)
    for index in _valid_indices(valid, len(colors)):
        _outline(picture, back[0, index] * factor, colors[index], 3)
        _outline(picture, back[1, index] * factor, (0, 0, 0), 1)
    for number, crop in enumerate(view.crop):
        x, y = (int(c) for c in (crop * factor)[:2])
        flipped = ", flipped" if geometry[number, 4] > 0.5 else ""
        put_label(picture, f"view {number + 1}{flipped}", (x + 4, y + 4 + 18 * number), CROP_COLORS[number])
    return picture


def _to_numpy(values: Array) -> np.ndarray:
    if not isinstance(values, Tensor):
        return values
    values = values.detach().cpu()
    # numpy knows no bfloat16
    return (values.float() if values.is_floating_point() else values).numpy()


def _valid_indices(valid: Array | None, count: int) -> np.ndarray:
    return np.arange(count) if valid is None else np.flatnonzero(_to_numpy(valid))


def _outline(picture: np.ndarray, box: np.ndarray, color: Sequence[int], thickness: int) -> None:
    """Draw a box whose edges lie in continuous coordinates (pixel i covers [i, i + 1])."""
    x1, y1, x2, y2 = (round(float(c)) for c in box)
    cv2.rectangle(picture, (x1, y1), (max(x1, x2 - 1), max(y1, y2 - 1)), [int(c) for c in color], thickness)
