"""An image file in memory whose size is known before its pixels are."""

from collections.abc import Callable

import cv2
import numpy as np

from mmsscl.datasets.image_header import SUPPORTED_FORMATS, is_cut_short, read_image_header
from mmsscl.errors import UnreadableImageError

# OpenCV before 4.10 decodes to BGR only.
_DECODES_RGB = hasattr(cv2, "IMREAD_COLOR_RGB")
_COLOR_FLAG = cv2.IMREAD_COLOR_RGB if _DECODES_RGB else cv2.IMREAD_COLOR
# The colour bit is taken out: OpenCV refuses its BGR and RGB bits together.
_REDUCTION_FLAGS = {
    2: cv2.IMREAD_REDUCED_COLOR_2 & ~cv2.IMREAD_COLOR,
    4: cv2.IMREAD_REDUCED_COLOR_4 & ~cv2.IMREAD_COLOR,
    8: cv2.IMREAD_REDUCED_COLOR_8 & ~cv2.IMREAD_COLOR,
}
MOST_PIXELS = 2**28
"""Of an image that is decoded: 16,384 x 16,384, which takes 0.8 GB."""
_LEAST_PIXELS_WORTH_REDUCING = 2_000_000


class EncodedImage:
    """A JPEG, PNG or WebP file as bytes: its size is read from the header, its pixels are decoded on demand.

    Crops are drawn from the size alone, so a transform knows how much detail it needs before the costly decode
    and can ask for less.

    Args:
        data: The file's bytes.
        path: Where they came from; named in errors.
        keep: Is handed the pixels of a full decode, where ``best_reduction`` asks for no other.

    Attributes:
        path: As given.
        height: Rows after the EXIF rotation.
        width: Columns after the EXIF rotation.

    Raises:
        UnreadableImageError: The file is empty, is no JPEG, PNG or WebP, is cut short, or has above ``MOST_PIXELS``.

    Example:
        >>> image = EncodedImage(open("photo.jpg", "rb").read(), "photo.jpg")
        >>> image.height, image.width
        (3024, 4032)
        >>> image.decode(reduction=4).shape
        (756, 1008, 3)
    """

    def __init__(self, data: bytes, path: str, keep: Callable[[np.ndarray], None] | None = None) -> None:
        self.path = path
        self._data = data
        self._keep = keep
        if not data:
            raise UnreadableImageError(f"{path}: the file is empty. Fetch it again, or take it out of the data set.")
        try:
            self._header = read_image_header(data)
        except ValueError as error:
            raise UnreadableImageError(
                f"{path}: not a readable image, {error}. Convert it to {SUPPORTED_FORMATS} or fetch it again, or take "
                "it out of the data set."
            ) from error
        if is_cut_short(data, self._header.format):
            raise self._damaged(f"cut short after {len(data)} bytes")
        self.height, self.width = self._header.height, self._header.width
        if self.height * self.width > MOST_PIXELS:
            # a file of a few kB can ask for more memory than there is
            raise UnreadableImageError(
                f"{path}: {self.width} x {self.height} pixels, more than the {MOST_PIXELS:,} that are decoded (it would "
                f"take {3 * self.height * self.width / 1e9:.1f} GB). Make it smaller, or take it out of the data set."
            )
        if self._header.orientation >= 5:
            self.height, self.width = self.width, self.height

    def best_reduction(self, scale: float) -> int:
        """The largest reduction that keeps at least the wanted detail and is worth it.

        Args:
            scale: Original pixels for one wanted pixel (crop side / view side); below 1 the crop is enlarged.

        Returns:
            1, 2, 4 or 8, at most ``scale``; 1 for all but JPEG files of 2 megapixels and more, since a DCT-scaled
            decode saves little on small photos and differs slightly from a full decode.
        """
        if not self._is_worth_reducing:
            return 1
        return max((reduction for reduction in _REDUCTION_FLAGS if reduction <= scale), default=1)

    def decode(self, reduction: int = 1) -> np.ndarray:
        """Decodes the pixels, upright.

        Gray is repeated to three channels, CMYK converted, alpha dropped, 16 bits scaled to 8. With reduction 1 the
        pixels are those of ``mmcv.imread`` in reversed channel order.

        Args:
            reduction: 1, or for JPEG files also 2, 4, 8: decode at that fraction of each side (DCT scaling).

        Returns:
            uint8 RGB array of shape (ceil(height / reduction), ceil(width / reduction), 3), contiguous.

        Raises:
            UnreadableImageError: The data is damaged.
            ValueError: The reduction is not supported for this file.
        """
        if reduction != 1 and (reduction not in _REDUCTION_FLAGS or self._header.format != "jpeg"):
            raise ValueError(f"{self.path}: reduction {reduction} is not supported for {self._header.format} files")
        # OpenCV rotates JPEG but, depending on its version, not PNG or WebP: all are rotated here alike.
        flags = _COLOR_FLAG | cv2.IMREAD_IGNORE_ORIENTATION | _REDUCTION_FLAGS.get(reduction, 0)
        try:
            pixels = cv2.imdecode(np.frombuffer(self._data, dtype=np.uint8), flags)
        except cv2.error as error:
            raise self._damaged(f"OpenCV says {error}") from error
        expected = (-(-self._header.height // reduction), -(-self._header.width // reduction), 3)
        if pixels is None or pixels.shape != expected:
            raise self._damaged(
                "its data does not decode"
                if pixels is None
                else f"its data has shape {pixels.shape}, its header says {expected}"
            )
        if not _DECODES_RGB:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        pixels = _turn_upright(pixels, self._header.orientation)
        if self._keep is not None and not self._is_worth_reducing:
            self._keep(pixels)
        return pixels

    @property
    def _is_worth_reducing(self) -> bool:
        return self._header.format == "jpeg" and self.height * self.width >= _LEAST_PIXELS_WORTH_REDUCING

    def _damaged(self, detail: str) -> UnreadableImageError:
        return UnreadableImageError(
            f"{self.path}: the {self._header.format} file is damaged or incomplete ({detail}). Fetch it again, or "
            "take it out of the data set."
        )


def _turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes an EXIF orientation (EXIF 2.3, section 4.6.4, tag 274)."""
    if orientation in (5, 6, 7, 8):
        pixels = cv2.transpose(pixels)
    if orientation in (2, 6):
        return cv2.flip(pixels, 1)
    if orientation in (3, 7):
        return cv2.flip(pixels, -1)
    if orientation in (4, 8):
        return cv2.flip(pixels, 0)
    return pixels
