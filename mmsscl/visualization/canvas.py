"""Pictures as uint8 RGB arrays: distinct colors, labels, enlarging, contact sheets, PNG files."""
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mmsscl.errors import InputError

BACKGROUND = 32
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def distinct_colors(count: int) -> np.ndarray:
    """Colors that the eye tells apart: hues evenly around the circle, brightness alternating.

    Args:
        count: how many, from 0.

    Returns:
        uint8 (count, 3), RGB, no two equal for up to 180.

    Example:
        >>> distinct_colors(3).shape
        (3, 3)
    """
    hsv = np.empty((count, 1, 3), np.uint8)
    for index in range(count):
        odd = index % 2
        hsv[index, 0] = (round(index * 180 / count) % 180, 255 - 85 * odd, 255 - 45 * odd)
    if count == 0:
        return hsv.reshape(0, 3)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[:, 0]


def enlarge(image: np.ndarray, factor: float) -> np.ndarray:
    """Resize by a factor: smaller by area, larger by cubic interpolation.

    Args:
        image: uint8 (H, W, 3).
        factor: above 0.
    """
    if factor == 1:
        return image.copy()
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    height, width = image.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(image, size, interpolation=interpolation)


def put_label(
    image: np.ndarray, text: str, corner: tuple[int, int], color: Sequence[int] = (255, 255, 255), scale: float = 0.4
) -> None:
    """Write text on a colored plate, in place, moved inside the picture where it would stick out.

    Args:
        image: uint8 (H, W, 3).
        text: ASCII; other characters are drawn as question marks.
        corner: (x, y) of the plate's upper left corner.
        color: RGB of the plate; the letters are black or white, whichever is read more easily on it.
        scale: of the font; 0.4 gives letters about 9 px high.
    """
    text = text.encode("ascii", "replace").decode()
    (width, height), baseline = cv2.getTextSize(text, _FONT, scale, 1)
    x = max(0, min(corner[0], image.shape[1] - width - 4))
    y = max(0, min(corner[1], image.shape[0] - height - baseline - 4))
    red, green, blue = (int(c) for c in color)
    letters = (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else (255, 255, 255)
    cv2.rectangle(image, (x, y), (x + width + 3, y + height + baseline + 3), (red, green, blue), -1)
    cv2.putText(image, text, (x + 2, y + height + 2), _FONT, scale, letters, 1, cv2.LINE_AA)


def beside(images: Sequence[np.ndarray], gap: int = 6) -> np.ndarray:
    """Set pictures side by side, top-aligned, on a dark ground.

    Args:
        images: uint8 (H_i, W_i, 3) each, at least one.
        gap: pixels between them.
    """
    height = max(image.shape[0] for image in images)
    width = sum(image.shape[1] for image in images) + gap * (len(images) - 1)
    canvas = np.full((height, width, 3), BACKGROUND, np.uint8)
    x = 0
    for image in images:
        canvas[: image.shape[0], x : x + image.shape[1]] = image
        x += image.shape[1] + gap
    return canvas


def above(images: Sequence[np.ndarray], gap: int = 6) -> np.ndarray:
    """Set pictures below each other, left-aligned, on a dark ground; see :func:`beside`."""
    turned = beside([image.transpose(1, 0, 2) for image in images], gap)
    return np.ascontiguousarray(turned.transpose(1, 0, 2))


def contact_sheet(images: Sequence[np.ndarray], columns: int = 2, tile_width: int = 640, gap: int = 6) -> np.ndarray:
    """All pictures in rows, each scaled to one width.

    Args:
        images: uint8 (H_i, W_i, 3) each, at least one.
        columns: pictures in a row.
        tile_width: width of each in pixels.
        gap: pixels between them.
    """
    tiles = [enlarge(image, tile_width / image.shape[1]) for image in images]
    return above([beside(tiles[start : start + columns], gap) for start in range(0, len(tiles), columns)], gap)


def write_png(path: str | os.PathLike, image: np.ndarray) -> Path:
    """Write a picture, making its folder.

    Args:
        path: of the file, ending in ``.png``.
        image: uint8 (H, W, 3), RGB.

    Returns:
        The path.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    path = Path(path)
    _, encoded = cv2.imencode(".png", image[..., ::-1])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error}). Choose another output folder.") from error
    return path
