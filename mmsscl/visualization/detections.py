"""Pictures of a detector's predictions."""
from collections.abc import Sequence

import cv2
import numpy as np

from mmsscl.visualization.canvas import distinct_colors, enlarge, put_label


def draw_detections(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    classes: Sequence[str],
    masks: np.ndarray | None = None,
    side: int = 800,
) -> np.ndarray:
    """An image with boxes, class names, scores and masks; one color a class.

    mmdet's own visualizer is not used: its font grows with the image's area, so that on a 128 px image the names cover
    the objects, and it takes a matplotlib figure an image.

    Args:
        image: uint8 (H, W, 3), RGB.
        boxes: (N, 4) xyxy in pixels of the image.
        labels: (N,) indices into ``classes``.
        scores: (N,) in [0, 1].
        classes: names of the classes; a label beyond them is shown by its number.
        masks: bool (N, H, W), or None.
        side: longer side of the picture in pixels.

    Returns:
        uint8 RGB picture.
    """
    factor = side / max(image.shape[:2])
    picture = enlarge(image, factor)
    colors = distinct_colors(max([len(classes), 1, *(int(label) + 1 for label in labels)]))
    # the surest last, on top
    order = np.argsort(scores, kind="stable")
    if masks is not None:
        for index in order:
            _blend_mask(picture, masks[index], colors[labels[index]])
    for index in order:
        x1, y1, x2, y2 = (round(float(c) * factor) for c in boxes[index])
        color = [int(c) for c in colors[labels[index]]]
        cv2.rectangle(picture, (x1, y1), (max(x1, x2 - 1), max(y1, y2 - 1)), color, 2)
    for index in order:
        label = int(labels[index])
        name = classes[label] if label < len(classes) else f"class {label}"
        x, y = (int(c * factor) for c in boxes[index, :2])
        put_label(picture, f"{name} {scores[index]:.2f}", (x, y - 16), colors[label], scale=0.45)
    return picture


def _blend_mask(picture: np.ndarray, mask: np.ndarray, color: np.ndarray) -> None:
    size = picture.shape[1], picture.shape[0]
    large = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
    picture[large] = (0.55 * picture[large] + 0.45 * color).astype(np.uint8)
