"""Saliency maps of a whole data set in one memory-mapped file that all workers and ranks of a machine share."""
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmsscl.atomic_file import atomic_file
from mmsscl.errors import InputError
from mmsscl.saliency.fingerprint import dataset_fingerprint
from mmsscl.saliency.store_state import FORMAT, check_state, describe_fingerprint

__all__ = ["SaliencyStore", "dataset_fingerprint"]

_MAGIC = b"mmssclSM"
_HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("format", "<u4"),
        ("size", "<u4"),
        ("count", "<u8"),
        ("version", "<u8"),
        ("epoch", "<i8"),
        ("writing", "<u4"),
        ("checksum", "<u4"),
        ("fingerprint", "S208"),
    ]
)


class SaliencyStore:
    """A map and a trust for each image of a data set, by index, in one file.

    The file is a header of 256 bytes, then uint8 (N,) trusts, then uint8 (N, s, s) maps, 255 for one: 23 MB for COCO's
    118,287 images at s = 14. Processes that open it map the same pages, so a write is seen at once by every worker of
    the machine, persistent ones too, without a copy or a message. There must be one writer a machine, and readers
    should not read while it writes: between :meth:`write` and :meth:`commit` maps of two refreshes lie side by side.

    A new store holds zero trust everywhere: no guidance.

    Attributes:
        path: The file.
        fingerprint: Of the data set, see :func:`~mmsscl.saliency.fingerprint.dataset_fingerprint`.
        count: N, number of images.
        size: s, cells a side.

    Example:
        >>> SaliencyStore.create("maps.bin", "3:0f", count=3, size=14)
        >>> store = SaliencyStore.open("maps.bin", "3:0f", writable=True)
        >>> store.write([0, 2], np.full((2, 14, 14), 255, np.uint8), np.array([255, 0], np.uint8))
        >>> store.commit(epoch=20)
        >>> values, trust = store.read(0)
    """

    def __init__(self, path: str | Path, fingerprint: str | None = None, writable: bool = False) -> None:
        self.path = Path(path)
        self.writable = writable
        self._map_file()
        record = self._header[0]
        try:
            self.fingerprint = bytes(record["fingerprint"]).decode()
        except UnicodeDecodeError as error:
            raise self._damaged("the data set's fingerprint in its header is no text") from error
        self.count = int(record["count"])
        self.size = int(record["size"])
        if fingerprint is not None and fingerprint != self.fingerprint:
            # a damaged header reads like another data set's: the checksum tells them apart
            self.verify()
            held, wanted = describe_fingerprint(self.fingerprint), describe_fingerprint(fingerprint)
            raise InputError(
                f"{self.path}: holds the saliency maps of another data set ({held}; this one: {wanted}). Train on the "
                "images it was made for, in their order; or delete it or set another work_dir, and start a new run "
                "(load_from=CHECKPOINT without resume keeps the weights)."
            )

    @classmethod
    def create(cls, path: str | Path, fingerprint: str, count: int, size: int) -> None:
        """Write a new, empty store, in place of the file there if there is one.

        Args:
            path: The file; its folder is made where it is missing.
            fingerprint: Of the data set, at most 208 bytes.
            count: Number of images, at least 1.
            size: Cells a side, 1 to 1024.

        Raises:
            InputError: A number outside its range, too long a fingerprint, or a folder that cannot be written to.
        """
        if len(fingerprint.encode()) > _HEADER["fingerprint"].itemsize:
            raise InputError(
                f"SaliencyStore: a fingerprint of {len(fingerprint.encode())} bytes; the file has room for "
                f"{_HEADER['fingerprint'].itemsize}. Use dataset_fingerprint(dataset)."
            )
        blank = np.zeros((count, size, size), np.uint8) if count > 0 and 0 < size <= 1024 else None
        if blank is None:
            raise InputError(f"SaliencyStore: count={count} and size={size}; need 1 image and 1 to 1024 cells a side.")
        cls._write_file(Path(path), fingerprint, 0, -1, blank, np.zeros(count, np.uint8))

    @classmethod
    def open(cls, path: str | Path, fingerprint: str | None = None, writable: bool = False) -> "SaliencyStore":
        """Map an existing store.

        Args:
            path: The file.
            fingerprint: Of the data set in use; ``None``: whichever the file is for.
            writable: Whether :meth:`write` and :meth:`commit` will be called.

        Raises:
            InputError: The file is absent, no store, damaged or cut short, of an unknown format, or for another data
                set. Its maps are not read here; see :meth:`verify`.
        """
        return cls(path, fingerprint, writable)

    @property
    def version(self) -> int:
        """Number of refreshes that were committed; 0: the store is empty."""
        return int(self._header["version"][0])

    @property
    def epoch(self) -> int:
        """Epoch before which the last refresh ran; -1: none yet."""
        return int(self._header["epoch"][0])

    def __len__(self) -> int:
        """Number of images."""
        return self.count

    def read(self, index: int) -> tuple[np.ndarray, float]:
        """The map of one image.

        Args:
            index: 0 to N - 1.

        Returns:
            values: float32 (s, s) in [0, 1], a copy.
            trust: In [0, 1].

        Raises:
            IndexError: The index is outside 0 to N - 1.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"{self.path}: index {index} is outside 0..{self.count - 1}")
        return self._maps[index] * np.float32(1 / 255), int(self._trust[index]) / 255

    def read_many(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Maps of several images: float32 (n, s, s) and trusts float32 (n,), all in [0, 1]."""
        rows = np.asarray(indices, dtype=np.int64)
        return self._maps[rows] * np.float32(1 / 255), self._trust[rows] * np.float32(1 / 255)

    def write(self, indices: Sequence[int] | np.ndarray, maps: np.ndarray, trust: np.ndarray) -> None:
        """Replace the maps of some images; call :meth:`commit` after the last.

        Args:
            indices: (n,), each 0 to N - 1.
            maps: (n, s, s), uint8, or float in [0, 1] (rounded to the nearest 255th).
            trust: (n,), likewise.

        Raises:
            InputError: The arrays do not fit the store.
        """
        rows = np.asarray(indices, dtype=np.int64)
        if len(rows) and (rows.min() < 0 or rows.max() >= self.count):
            raise InputError(f"{self.path}: indices reach {rows.min()}..{rows.max()}; it holds 0..{self.count - 1}.")
        if np.shape(maps) != (len(rows), self.size, self.size) or np.shape(trust) != (len(rows),):
            raise InputError(
                f"{self.path}: maps {np.shape(maps)} and trust {np.shape(trust)} do not fit {len(rows)} indices and "
                f"cells of {self.size} x {self.size}."
            )
        self._header["writing"][0] = 1
        self._maps[rows] = to_bytes(maps)
        self._trust[rows] = to_bytes(trust)

    def commit(self, epoch: int) -> None:
        """End a refresh: count it, note its epoch and bring the file to disk."""
        self._seal(self.version + 1, epoch)

    def verify(self) -> bool:
        """Compare header, maps and trusts with the checksum of the last commit.

        Returns:
            False where a refresh was cut off while it wrote, so that there is nothing to compare with.

        Raises:
            InputError: They differ: the file is damaged.
        """
        if self._header["writing"][0]:
            return False
        if int(self._header["checksum"][0]) != _checksum(self._header, self._trust, self._maps):
            raise self._damaged("its content does not match its checksum")
        return True

    def state(self) -> dict[str, Any]:
        """Everything, as tensors and plain values: what a checkpoint keeps.

        Returns:
            ``format``, ``fingerprint``, ``count``, ``size``, ``version``, ``epoch``; ``maps`` uint8 (N, s, s) and
            ``trust`` uint8 (N,), copies.
        """
        return {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "count": self.count,
            "size": self.size,
            "version": self.version,
            "epoch": self.epoch,
            "maps": torch.from_numpy(self._maps.copy()),
            "trust": torch.from_numpy(self._trust.copy()),
        }

    def restore(self, state: dict[str, Any], origin: str = "the checkpoint") -> None:
        """Take up what :meth:`state` gave.

        Args:
            state: From a checkpoint; its tensors may lie on any device.
            origin: The checkpoint's path, for the message.

        Raises:
            InputError: The state is damaged or incomplete, or for another data set or size of map.
        """
        check_state(state, self.fingerprint, self.count, self.size, origin)
        self._header["writing"][0] = 1
        self._maps[:] = state["maps"].cpu().numpy()
        self._trust[:] = state["trust"].cpu().numpy()
        self._seal(state["version"], state["epoch"])

    def _seal(self, version: int, epoch: int) -> None:
        self._header["version"][0] = version
        self._header["epoch"][0] = epoch
        self._header["checksum"][0] = _checksum(self._header, self._trust, self._maps)
        self._header["writing"][0] = 0
        self._memory.flush()

    def _map_file(self) -> None:
        try:
            length = self.path.stat().st_size
        except FileNotFoundError as error:
            raise InputError(
                f"{self.path}: no such saliency store. SaliencyRefreshHook makes it in the work_dir at the start of a "
                "run: check the path and that the folder is visible on this machine."
            ) from error
        except OSError as error:
            raise InputError(f"{self.path}: the saliency store cannot be read ({error.strerror}).") from error
        if self.path.is_dir():
            raise self._no_store("a folder")
        try:
            with self.path.open("rb") as file:
                start = file.read(len(_MAGIC))
            # what is cut short may still be told from what never was a store
            if not _MAGIC.startswith(start):
                raise self._no_store(f"it begins with {start!r}")
            if length < _HEADER.itemsize:
                raise self._damaged(f"{length} bytes, shorter than its header")
            memory = np.memmap(self.path, dtype=np.uint8, mode="r+" if self.writable else "r")
        except PermissionError as error:
            raise InputError(f"{self.path}: no permission for the saliency store. Check its owner.") from error
        # plain arrays on the same pages: the memmap class costs microseconds at each index
        self._memory, pages = memory, np.asarray(memory)
        self._header = pages[: _HEADER.itemsize].view(_HEADER)
        record = self._header[0]
        if int(record["format"]) != FORMAT:
            raise InputError(
                f"{self.path}: a saliency store of format {int(record['format'])}, this version reads {FORMAT}. Use the "
                "version of mmsscl that wrote it, or delete the file: it is made anew from the checkpoint."
            )
        count, size = int(record["count"]), int(record["size"])
        expected = _HEADER.itemsize + count * (1 + size * size)
        if length != expected:
            raise self._damaged(f"{length} bytes where its header ({count} maps of {size} x {size}) says {expected}")
        self._trust = pages[_HEADER.itemsize : _HEADER.itemsize + count]
        self._maps = pages[_HEADER.itemsize + count :].reshape(count, size, size)

    def _no_store(self, detail: str) -> InputError:
        return InputError(
            f"{self.path}: is no saliency store ({detail}). Give the saliency_store.bin of a work_dir. If this is the one "
            "of the run that you resume, move it away: it is made anew from the checkpoint."
        )

    def _damaged(self, detail: str) -> InputError:
        return InputError(
            f"{self.path}: the saliency store is damaged or cut short ({detail}). Delete this file and resume: the "
            "checkpoint holds the maps and they are written anew. If the disk is full, make room first."
        )

    @staticmethod
    def _write_file(
        path: Path, fingerprint: str, version: int, epoch: int, maps: np.ndarray, trust: np.ndarray
    ) -> None:
        header = np.zeros(1, _HEADER)
        header[0] = (
            _MAGIC, FORMAT, maps.shape[1], len(maps), version, epoch, 0, 0, fingerprint.encode()
        )  # fmt: skip
        header["checksum"] = _checksum(header, trust, maps)
        try:
            with atomic_file(path) as file:
                for part in (header, trust, maps):
                    file.write(part.tobytes())
        except OSError as error:
            raise InputError(
                f"{path}: the saliency store cannot be written ({error.strerror}). It takes "
                f"{maps.nbytes / 1e6:.0f} MB: check permissions and space, or set another work_dir."
            ) from error

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, {self.count} maps of {self.size}, version {self.version})"


def to_bytes(values: np.ndarray) -> np.ndarray:
    """float in [0, 1] as uint8, to the nearest 255th; uint8 as it is."""
    array = np.asarray(values)
    if array.dtype == np.uint8:
        return array
    return np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)


def _checksum(header: np.ndarray, trust: np.ndarray, maps: np.ndarray) -> int:
    """Of all bytes but two fields: itself, and "writing", which changes before it does."""
    data = header.view(np.uint8)
    fields: Any = _HEADER.fields
    parts = (data[: fields["writing"][1]], data[fields["fingerprint"][1] :], trust, maps)
    value = 0
    for part in parts:
        value = zlib.crc32(np.ascontiguousarray(part).data, value)
    return value
