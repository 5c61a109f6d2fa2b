"""Where a view lies in its image: crop, scale and flip, forward and inverse."""
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Array = Any  # numpy.ndarray or torch.Tensor; a function returns the kind it was given


def _stack(columns: list[Array]) -> Array:
    if isinstance(columns[0], torch.Tensor):
        return torch.stack(columns, dim=-1)
    return np.stack(columns, axis=-1)


def _where(condition: Array, chosen: Array, other: Array) -> Array:
    if isinstance(chosen, torch.Tensor):
        return torch.where(condition, chosen, other)
    return np.where(condition, chosen, other)


@dataclass(frozen=True)
class ViewGeometry:
    """Maps between the pixels of an image and the pixels of views cropped from it.

    A view is the crop with its top-left corner at (x, y) and sides (w, h), resized to ``size`` and then, where ``flip``
    is 1, mirrored left to right. Coordinates are continuous: pixel i covers [i, i + 1), so the image spans [0, width].

    All methods take numpy arrays or torch tensors, whichever kind ``geometry`` is, and broadcast over its leading
    dimensions; nothing is clipped unless ``clip`` is called.

    Args:
        geometry: (..., 5): x, y, w, h in image pixels (w, h > 0), flip 0 or 1.
        size: Side of the (square) view in pixels, or its (height, width).

    Example:
        >>> view = ViewGeometry(np.array([100.0, 50.0, 448.0, 448.0, 1.0]), 224)
        >>> view.boxes_to_view(np.array([[100.0, 50.0, 200.0, 150.0]]))
        array([[174.,   0., 224.,  50.]])
    """

    geometry: Array
    size: int | tuple[int, int]

    @property
    def height(self) -> int:
        """Height of the view in pixels."""
        return self.size if isinstance(self.size, int) else self.size[0]

    @property
    def width(self) -> int:
        """Width of the view in pixels."""
        return self.size if isinstance(self.size, int) else self.size[1]

    @property
    def crop(self) -> Array:
        """The crop as a box in image pixels: (..., 4), xyxy."""
        x, y, w, h = (self.geometry[..., i] for i in range(4))
        return _stack([x, y, x + w, y + h])

    @property
    def scale(self) -> Array:
        """View pixels per image pixel: (..., 2), along x and y."""
        return _stack([self.width / self.geometry[..., 2], self.height / self.geometry[..., 3]])

    def boxes_to_view(self, boxes: Array) -> Array:
        """Maps boxes from image pixels to view pixels.

        Args:
            boxes: (..., K, 4) xyxy in image pixels; leading dimensions broadcast against the geometry's.

        Returns:
            (..., K, 4) xyxy in view pixels, x1 <= x2 in flipped views too.
        """
        x, y, w, h, flip = (self.geometry[..., None, i] for i in range(5))
        scale_x, scale_y = self.width / w, self.height / h
        left, right = (boxes[..., 0] - x) * scale_x, (boxes[..., 2] - x) * scale_x
        flipped = flip > 0.5
        return _stack(
            [
                _where(flipped, self.width - right, left),
                (boxes[..., 1] - y) * scale_y,
                _where(flipped, self.width - left, right),
                (boxes[..., 3] - y) * scale_y,
            ]
        )

    def boxes_to_image(self, boxes: Array) -> Array:
        """Maps boxes from view pixels back to image pixels, the inverse of ``boxes_to_view``.

        Args:
            boxes: (..., K, 4) xyxy in view pixels.

        Returns:
            (..., K, 4) xyxy in image pixels.
        """
        x, y, w, h, flip = (self.geometry[..., None, i] for i in range(5))
        scale_x, scale_y = w / self.width, h / self.height
        flipped = flip > 0.5
        left = _where(flipped, self.width - boxes[..., 2], boxes[..., 0])
        right = _where(flipped, self.width - boxes[..., 0], boxes[..., 2])
        return _stack(
            [left * scale_x + x, boxes[..., 1] * scale_y + y, right * scale_x + x, boxes[..., 3] * scale_y + y]
        )

    def points_to_view(self, points: Array) -> Array:
        """Maps points (..., K, 2), xy, from image pixels to view pixels."""
        x, y, w, h, flip = (self.geometry[..., None, i] for i in range(5))
        across = (points[..., 0] - x) * (self.width / w)
        return _stack([_where(flip > 0.5, self.width - across, across), (points[..., 1] - y) * (self.height / h)])

    def points_to_image(self, points: Array) -> Array:
        """Maps points (..., K, 2), xy, from view pixels back to image pixels."""
        x, y, w, h, flip = (self.geometry[..., None, i] for i in range(5))
        across = _where(flip > 0.5, self.width - points[..., 0], points[..., 0])
        return _stack([across * (w / self.width) + x, points[..., 1] * (h / self.height) + y])

    def clip(self, boxes: Array) -> Array:
        """Clips boxes (..., 4), xyxy in view pixels, to the view."""
        columns = [boxes[..., i].clip(0, self.height if i % 2 else self.width) for i in range(4)]
        return _stack(columns)
