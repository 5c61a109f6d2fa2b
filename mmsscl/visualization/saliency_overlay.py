"""Saliency maps over photos, and where crops fall."""
from collections.abc import Sequence

import cv2
import numpy as np

from mmsscl.evaluation.saliency_quality import enlarge_map
from mmsscl.visualization.canvas import BACKGROUND, above, put_label


def heat_colors(values: np.ndarray) -> np.ndarray:
    """Colors from dark blue (0) over green to dark red (1), of even steps to the eye (Turbo).

    Args:
        values: float (H, W), clipped to [0, 1].

    Returns:
        uint8 (H, W, 3), RGB.
    """
    levels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO)[..., ::-1])


def draw_heat(image: np.ndarray, values: np.ndarray, height: int = 240, opacity: float = 0.6) -> np.ndarray:
    """Values as colors over the photo, which turns gray so that its own colors are not mistaken for them.

    Args:
        image: uint8 (H, W, 3), RGB.
        values: float (h, w) in [0, 1] over the whole image, enlarged bilinearly.
        height: of the picture in pixels; its width follows from the photo's.
        opacity: of the colors, in [0, 1].

    Returns:
        uint8 (height, width, 3), RGB.
    """
    picture = at_height(image, height)
    gray = np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    colors = heat_colors(enlarge_map(values, (picture.shape[0], picture.shape[1])))
    return cv2.addWeighted(colors, opacity, gray, 1 - opacity, 0)


def draw_maps(
    image: np.ndarray, maps: Sequence[np.ndarray], labels: Sequence[str], height: int = 240
) -> list[np.ndarray]:
    """A photo and its maps, for instance of several checkpoints: pictures of one height to set side by side.

    Args:
        image: uint8 (H, W, 3), RGB.
        maps: float (h, w) in [0, 1] each.
        labels: what each map is.
        height: of the pictures.

    Returns:
        The photo, then the photo under each map.
    """
    pictures = [captioned(at_height(image, height), ["photo"])]
    for values, label in zip(maps, labels, strict=True):
        pictures.append(captioned(draw_heat(image, values, height), [label]))
    return pictures


def captioned(picture: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """A picture below lines of text; widened on the right where the text is longer.

    Args:
        picture: uint8 (H, W, 3), RGB.
        lines: of ASCII.
    """
    # what put_label needs at its default scale
    width = max([picture.shape[1]] + [9 + round(7.3 * len(line)) for line in lines])
    strip = np.full((18 * len(lines), width, 3), BACKGROUND, np.uint8)
    for row, line in enumerate(lines):
        put_label(strip, line, (0, 18 * row), (BACKGROUND,) * 3)
    return above([strip, picture], gap=0)


def crop_coverage(crops: np.ndarray, image_size: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """How often each place of an image lies in a crop.

    Args:
        crops: (M, 4) xywh in image pixels, inside the image; M at least 1.
        image_size: (height, width) of the image.
        grid: (rows, columns) of the result.

    Returns:
        float32 (rows, columns) in [0, 1]: the share of the crops that cover each cell's centre.
    """
    centres = [(np.arange(count) + 0.5) * length / count for count, length in zip(grid, image_size, strict=True)]
    x, y, w, h = np.asarray(crops, np.float64)[:, :4].T
    # an interval of cells on each axis; a crop covers their product
    top, bottom = np.searchsorted(centres[0], y), np.searchsorted(centres[0], y + h)
    left, right = np.searchsorted(centres[1], x), np.searchsorted(centres[1], x + w)
    steps = np.zeros((grid[0] + 1, grid[1] + 1))
    for rows, columns, sign in ((top, left, 1), (bottom, left, -1), (top, right, -1), (bottom, right, 1)):
        np.add.at(steps, (rows, columns), sign)
    return (steps.cumsum(0).cumsum(1)[:-1, :-1] / len(crops)).astype(np.float32)


def at_height(image: np.ndarray, height: int) -> np.ndarray:
    """A photo scaled to a height in pixels; a panorama's width is limited to four heights, by squashing it."""
    # at once: enlarged first, a strip of a few rows would be a picture of gigabytes
    factor = height / image.shape[0]
    width = max(1, min(round(image.shape[1] * factor), 4 * height))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
