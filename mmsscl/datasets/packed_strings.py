"""Many strings in one buffer."""
import os
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from mmsscl.errors import InputError

_CHUNK = 1 << 16


class PackedStrings:
    """A read-only list of strings, such as file names, in two arrays.

    A Python list of ten million names takes a gigabyte, and each worker process soon has a copy of its own, since a look
    at a string writes to its reference count. Nothing inside an array is counted: forked workers share it.

    Args:
        strings: In order. As file names they must not hold the character NUL.
        source: Where they are from, for errors.

    Raises:
        InputError: One holds NUL, or half of a character of UTF-16.

    Example:
        >>> names = PackedStrings(["a.jpg", "b.jpg"])
        >>> names[1], len(names)
        ('b.jpg', 2)
    """

    def __init__(self, strings: Iterable[str] = (), source: str = "file names") -> None:
        buffer, ends = bytearray(), []
        rest = iter(strings)
        while chunk := list(islice(rest, _CHUNK)):
            # one call that encodes many is ten times as fast as many that encode one
            try:
                encoded = os.fsencode("\0".join(chunk) + "\0")
            except UnicodeEncodeError as error:
                name = error.object[max(error.start - 40, 0) : error.end]
                raise InputError(f"{source}: no file can have a name with {name!r} ({error.reason}). Correct it.") from error
            terminators = np.flatnonzero(np.frombuffer(encoded, dtype=np.uint8) == 0)
            if len(terminators) != len(chunk):
                name = next(string for string in chunk if "\0" in string)
                raise InputError(f"{source}: {name!r} is a name with the character NUL. No file can have it: correct it.")
            ends.append(terminators + (len(buffer) + 1))
            buffer += encoded
        self._buffer = np.frombuffer(buffer, dtype=np.uint8)
        self._ends = np.concatenate(ends) if ends else np.zeros(0, dtype=np.int64)

    @classmethod
    def from_arrays(cls, buffer: np.ndarray, ends: np.ndarray) -> "PackedStrings":
        """From what ``buffer`` and ``ends`` of another give.

        Args:
            buffer: uint8 (bytes,), each string in the file system's encoding and followed by NUL.
            ends: int64 (strings,), where in ``buffer`` the next one begins.
        """
        packed = cls()
        packed._buffer, packed._ends = buffer, ends
        return packed

    @property
    def buffer(self) -> np.ndarray:
        """uint8 (bytes,)."""
        return self._buffer

    @property
    def ends(self) -> np.ndarray:
        """int64 (strings,)."""
        return self._ends

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        """A string, by a number from 0."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside 0..{len(self) - 1}")
        start = self._ends[index - 1] if index else 0
        return os.fsdecode(self._buffer[start : self._ends[index] - 1].tobytes())

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))
