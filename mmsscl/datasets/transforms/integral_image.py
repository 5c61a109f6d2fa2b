"""Integrals of a saliency map over boxes, exact for the fractional cells at a box's edges."""
import numpy as np


class MapIntegral:
    """Sums a map over boxes of the image it covers.

    The map is piecewise constant: cell (row, column) is the part of the image from ``row / h`` to ``(row + 1) / h`` of
    its height, and likewise across. A box that cuts a cell gets the share of the cell that it covers, which is what
    bilinear look-ups in a summed-area table (an integral image) give. The sum is taken one axis after the other
    instead: on maps as small as 14 x 14 that needs no table and costs half of it.

    Args:
        values: (h, w), not negative.

    Example:
        >>> integral = MapIntegral(np.array([[0.0, 1.0]], np.float32))        # the right half is salient
        >>> integral.means(np.array([[50.0, 0.0, 150.0, 80.0]]), (100, 200))
        array([0.5])
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = values.astype(np.float64)
        self.height, self.width = values.shape
        self._cells = np.arange(max(values.shape), dtype=np.float64)

    @property
    def total(self) -> float:
        """Sum over the whole map, in cells times value."""
        return float(self.values.sum())

    def sums(self, boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
        """Integral over each box.

        Args:
            boxes: (n, 4) xyxy in image pixels; what lies outside the image adds nothing.
            image_size: (height, width) of the image in pixels.

        Returns:
            float64 (n,), in cells times value.
        """
        across, down = self.width / image_size[1], self.height / image_size[0]
        # How much of each cell lies left of (above) each edge; the difference of two edges is what the box covers.
        covered = (boxes * (across, down, across, down)).T[:, :, None] - self._cells
        np.maximum(covered, 0.0, out=covered)
        np.minimum(covered, 1.0, out=covered)
        columns, rows = covered[2:] - covered[:2]
        return np.einsum("ij,ij->i", rows[:, : self.height] @ self.values, columns[:, : self.width])

    def cells(self, boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
        """Area of each box in cells of the map: float64 (n,). Arguments as for :meth:`sums`."""
        sides = boxes[:, 2:] - boxes[:, :2]
        return sides[:, 0] * sides[:, 1] * (self.width * self.height / (image_size[0] * image_size[1]))

    def means(self, boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
        """Mean of the map inside each box: float64 (n,); 0 for a box without area. Arguments as for :meth:`sums`."""
        sums, cells = self.sums(boxes, image_size), self.cells(boxes, image_size)
        return np.divide(sums, cells, out=np.zeros_like(sums), where=cells > 0)

    def scores(self, boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
        """How good a positive each box is: ``mean_inside ** .5 * coverage ** .5``.

        The mean alone favours the smallest box on the brightest spot, coverage (the box's share of the map's mass)
        alone the whole image. The score belongs to a region of the image, whatever view shows it.

        Args:
            boxes: (n, 4) xyxy in image pixels, inside the image.
            image_size: (height, width) of the image in pixels.

        Returns:
            float64 (n,) in [0, 1] for a map in [0, 1]; all 0 for a map of zeros.
        """
        sums = self.sums(boxes, image_size)
        scale = self.cells(boxes, image_size) * self.total
        return np.divide(sums, np.sqrt(scale), out=np.zeros_like(sums), where=scale > 0)
