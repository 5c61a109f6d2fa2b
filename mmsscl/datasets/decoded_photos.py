"""Pixels of photos that were decoded once, in memory that a data set shares with its workers."""
import mmap
import multiprocessing
import os
from typing import Any

import numpy as np

from mmsscl.errors import InputError

_ABSENT, _BEGUN, _KEPT = range(3)


def machine_memory() -> float:
    """Memory of this machine, in GB (1e9 bytes)."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


class DecodedPhotos:
    """Keeps the pixels of a data set's photos, uint8, as they are decoded, while there is room.

    The memory is taken as it fills, and is shared by all processes forked from the one that made this object: what one
    worker of a ``DataLoader`` decodes, no other decodes again. A copy sent to a process that is not forked starts empty.
    Photos that may be decoded at a reduced size (JPEG files of 2 megapixels and more) are not kept, so that a sample is the
    same with and without.

    Args:
        count: Number of photos of the data set.
        gigabytes: Room for pixels, in 1e9 bytes.

    Raises:
        InputError: ``gigabytes`` is no number above 0, or more than the machine has.

    Example:
        >>> photos = DecodedPhotos(count=5521, gigabytes=2)
        >>> photos.put(7, np.zeros((224, 300, 3), np.uint8))
        >>> photos.get(7).shape, photos.kept
        ((224, 300, 3), 1)
    """

    def __init__(self, count: int, gigabytes: float) -> None:
        most = machine_memory()
        if not isinstance(gigabytes, int | float) or isinstance(gigabytes, bool) or not 0 < gigabytes <= most:
            raise InputError(
                f"keep_decoded={gigabytes!r}: give the memory for decoded photos in GB, above 0 and below the {most:.0f} "
                "that this machine has (for all processes on it together); 0 keeps none."
            )
        self.count, self.gigabytes = count, gigabytes
        # anonymous and shared: no file is left behind, and /dev/shm, which is small in containers, is not used
        self._pixels = np.frombuffer(mmap.mmap(-1, int(gigabytes * 1e9)), np.uint8)
        self._places = np.frombuffer(mmap.mmap(-1, max(1, count) * 32), np.int64).reshape(-1, 4)  # state, offset, h, w
        self._totals = np.frombuffer(mmap.mmap(-1, 16), np.int64)  # bytes taken, photos kept
        self._lock = multiprocessing.Lock()

    @property
    def kept(self) -> int:
        """Number of photos that are kept."""
        return int(self._totals[1])

    @property
    def bytes(self) -> int:
        """Memory that is taken."""
        return int(self._totals[0])

    def get(self, index: int) -> np.ndarray | None:
        """Pixels of a photo, uint8 (H, W, 3), read-only, not copied; None where they are not kept."""
        state, offset, height, width = self._places[index].tolist()
        if state != _KEPT:
            return None
        pixels = self._pixels[offset : offset + height * width * 3].reshape(height, width, 3)
        pixels.flags.writeable = False
        return pixels

    def put(self, index: int, pixels: np.ndarray) -> None:
        """Keeps a photo's pixels, if there is room and they are not kept yet.

        Args:
            index: Number of the photo.
            pixels: uint8 (H, W, 3).
        """
        with self._lock:
            offset = int(self._totals[0])
            if self._places[index, 0] != _ABSENT or offset + pixels.size > len(self._pixels):
                return
            self._places[index] = _BEGUN, offset, *pixels.shape[:2]
            self._totals[0] += pixels.size
        self._pixels[offset : offset + pixels.size] = pixels.reshape(-1)
        with self._lock:
            self._places[index, 0] = _KEPT
            self._totals[1] += 1

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.count, self.gigabytes)


class KeptImage:
    """A photo whose pixels are kept; takes the place of an ``EncodedImage``.

    Args:
        pixels: uint8 (H, W, 3), upright.
        path: Of the file they were decoded from.
    """

    def __init__(self, pixels: np.ndarray, path: str) -> None:
        self._pixels, self.path = pixels, path
        self.height, self.width = pixels.shape[:2]

    def best_reduction(self, scale: float) -> int:
        """1: as of the file, which is too small to be worth reducing."""
        return 1

    def decode(self, reduction: int = 1) -> np.ndarray:
        """A copy of the pixels, into which a transform may write.

        Raises:
            ValueError: ``reduction`` is not 1.
        """
        if reduction != 1:
            raise ValueError(f"{self.path}: kept pixels have no reduction {reduction}")
        return self._pixels.copy()
