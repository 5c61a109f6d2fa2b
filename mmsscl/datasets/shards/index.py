"""What is where in a tar file."""
import hashlib
import os
import tarfile
from collections import Counter
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from mmsscl.atomic_file import atomic_file
from mmsscl.datasets.packed_strings import PackedStrings
from mmsscl.errors import InputError

SUFFIX = ".index"
UNFINISHED = ".unfinished"
"""Ending of the file that lies beside tar files while they are written."""
_VERSION = 1
_BLOCK = 512
_MOST_LOOKED_AT = 8


class ShardIndex(NamedTuple):
    """The files in one tar file, in their order; hidden ones, and those in hidden folders, are left out.

    Attributes:
        names: Of the files, with their folders.
        offsets: int64, of each file's first byte in the tar file.
        sizes: int64, in bytes.

    Example:
        >>> index = ShardIndex.scan("shards/photos-000000.tar")
        >>> index.write("shards/photos-000000.tar")         # shards/photos-000000.tar.index
        >>> ShardIndex.read("shards/photos-000000.tar").names[0]
        'train2017/000000000009.jpg'
    """

    names: PackedStrings
    offsets: np.ndarray
    sizes: np.ndarray

    @classmethod
    def scan(cls, shard: str) -> "ShardIndex":
        """From a tar file's headers; the files' own bytes are passed over.

        Raises:
            InputError: It is absent, compressed, damaged or cut short, or holds links or sparse files.
        """
        names, offsets, sizes = [], [], []
        try:
            with open(shard, "rb") as file:
                with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
                    for member in tar:
                        name = _checked_name(member, shard)
                        if name is not None:
                            names.append(name)
                            offsets.append(member.offset_data)
                            sizes.append(member.size)
                        tar.members = []  # type: ignore[attr-defined]  # else all of them stay in memory
                    end = tar.offset
                _require_end(file, end, shard, len(names))
        except InputError:
            raise
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise InputError(
                f"{shard}: not a readable tar file ({error}). It must be whole and not compressed (photos hardly get "
                "smaller by it, and cannot be read one by one then): fetch it again, or unpack .tar.gz with gunzip."
            ) from error
        except FileNotFoundError as error:
            raise InputError(f"{shard}: no such tar file. Check data_root and shards.") from error
        except OSError as error:
            raise InputError(f"{shard}: the tar file cannot be read ({error.strerror}).") from error
        if len(set(names)) < len(names):
            twice = next(name for name, count in Counter(names).items() if count > 1)
            raise InputError(
                f"{shard}: holds {twice} more than once, as tar --update or --append leave it. Pack the photos anew."
            )
        return cls(PackedStrings(names, shard), np.array(offsets, dtype=np.int64), np.array(sizes, dtype=np.int64))

    @classmethod
    def read(cls, shard: str) -> "ShardIndex | None":
        """From the file beside a tar file, ``SHARD.index``; ``None`` if there is none.

        Raises:
            InputError: It is damaged, of another version, or that of another tar file.
        """
        file = shard + SUFFIX
        remedy = f"Write it anew: mmsscl shards index {os.path.dirname(shard) or '.'}"
        if not os.path.exists(shard):
            raise InputError(f"{shard}: no such tar file. Check data_root and shards.")
        if not os.path.exists(file):
            return None
        try:
            with np.load(file, allow_pickle=False) as content:
                if int(content["version"]) != _VERSION:
                    raise InputError(f"{file}: of version {int(content['version'])}, not {_VERSION}. {remedy}")
                found = {key: content[key] for key in ("names", "ends", "offsets", "sizes", "headers", "shard_size")}
        except InputError:
            raise
        # a damaged archive raises nearly anything
        except Exception as error:
            raise InputError(f"{file}: not a readable index ({error}). {remedy}") from error
        if not _fits_together(found):
            raise InputError(f"{file}: not a readable index (its parts do not fit together). {remedy}")
        index = cls(PackedStrings.from_arrays(found["names"], found["ends"]), found["offsets"], found["sizes"])
        held, actual = int(found["shard_size"]), os.stat(shard).st_size
        if held != actual or index._headers(shard) != found["headers"].tobytes():
            what = f"of {held} bytes, {shard} has {actual}" if held != actual else f"with other files than {shard}"
            raise InputError(f"{file}: is of a tar file {what}. {remedy}")
        return index

    def write(self, shard: str) -> Path:
        """To the file beside a tar file.

        Returns:
            That file's path.

        Raises:
            OSError: It cannot be written.
        """
        file = Path(shard + SUFFIX)
        with atomic_file(file) as stream:
            np.savez(
                stream, version=_VERSION, shard_size=os.stat(shard).st_size, names=self.names.buffer, ends=self.names.ends,
                offsets=self.offsets, sizes=self.sizes, headers=np.frombuffer(self._headers(shard), dtype=np.uint8),
            )
        return file

    def _headers(self, shard: str) -> bytes:
        """A digest of some files' headers: tar files are rounded up to 10 kB, so one repacked often has the same size."""
        digest = hashlib.blake2b(digest_size=16)
        count = len(self.names)
        with open(shard, "rb") as file:
            for index in np.linspace(0, count - 1, min(count, _MOST_LOOKED_AT)).round().astype(int):
                file.seek(int(self.offsets[index]) - _BLOCK)
                digest.update(file.read(_BLOCK))
        return digest.digest()


def _require_end(file: BinaryIO, end: int, shard: str, count: int) -> None:
    """tarfile takes a damaged header, or a hole, for the end: there must be a block of zeros, and nothing after it."""
    file.seek(end)
    rest = file.read(_BLOCK)
    whole = len(rest) == _BLOCK
    while rest and not rest.strip(b"\0"):
        rest = file.read(1 << 20)
    if rest or not whole:
        raise InputError(
            f"{shard}: the tar file is damaged, cut short or put together of several, at byte {end} after {count} files. "
            "Fetch it again, or pack it anew."
        )


def _fits_together(found: dict[str, np.ndarray]) -> bool:
    """Whether the arrays of an index are such as ``write`` makes them."""
    numbers = [found[key] for key in ("ends", "offsets", "sizes")]
    if any(array.dtype != np.int64 or array.shape != numbers[0].shape or array.ndim != 1 for array in numbers):
        return False
    if any(found[key].dtype != np.uint8 or found[key].ndim != 1 for key in ("names", "headers")):
        return False
    ends, names = found["ends"], found["names"]
    if found["shard_size"].shape != () or not np.issubdtype(found["shard_size"].dtype, np.integer):
        return False
    places = np.flatnonzero(names == 0) + 1
    return np.array_equal(places, ends) and len(names) == (ends[-1] if len(ends) else 0) and bool(
        (found["offsets"] >= _BLOCK).all() and (found["sizes"] >= 0).all()
        and (found["offsets"] + found["sizes"] <= int(found["shard_size"])).all()
    )


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder that it is in, is hidden: those are left out of folders and tar files alike."""
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def _checked_name(member: tarfile.TarInfo, shard: str) -> str | None:
    """A file's name; None for folders and hidden files."""
    name = member.name.removeprefix("./")
    if member.isdir() or is_hidden(name):
        return None
    if not name.strip("/"):
        raise InputError(f"{shard}: holds a file without a name. Pack the photos anew.")
    if not member.isreg() or member.issparse():
        raise InputError(
            f"{shard}: {member.name} is a link or a sparse file, whose bytes are elsewhere. Pack the photos with "
            "mmsscl shards write, or tar --dereference --hard-dereference."
        )
    if "://" in name:
        raise InputError(f"{shard}: {member.name} has '://' in its name, which marks addresses. Rename the file.")
    return name
