"""What is where in a tar file."""
import os
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmsscl.atomic_file import atomic_file
from mmsscl.datasets.packed_strings import PackedStrings
from mmsscl.errors import InputError

SUFFIX = ".index"
_VERSION = 1
_BLOCK = 512


class ShardIndex(NamedTuple):
    """The files in one tar file, in their order; hidden ones are left out.

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
                file.seek(end)
                if file.read(_BLOCK) != bytes(_BLOCK):
                    # tarfile takes a damaged header for the end
                    raise InputError(
                        f"{shard}: the tar file is damaged or cut short at byte {end}, after {len(names)} files. Fetch it "
                        "again, or pack it anew."
                    )
        except (tarfile.TarError, EOFError) as error:
            raise InputError(
                f"{shard}: not a readable tar file ({error}). It must be whole and not compressed (photos hardly get "
                "smaller by it, and cannot be read one by one then): fetch it again, or unpack .tar.gz with gunzip."
            ) from error
        except FileNotFoundError as error:
            raise InputError(f"{shard}: no such tar file. Check data_root and shards.") from error
        except OSError as error:
            raise InputError(f"{shard}: the tar file cannot be read ({error.strerror}).") from error
        return cls(PackedStrings(names), np.array(offsets, dtype=np.int64), np.array(sizes, dtype=np.int64))

    @classmethod
    def read(cls, shard: str) -> "ShardIndex | None":
        """From the file beside a tar file, ``SHARD.index``; ``None`` if there is none.

        Raises:
            InputError: It is damaged, of another version, or that of another tar file.
        """
        file = shard + SUFFIX
        remedy = f"Write it anew: mmsscl shards index {os.path.dirname(shard) or '.'}"
        try:
            with np.load(file, allow_pickle=False) as content:
                if int(content["version"]) != _VERSION:
                    raise InputError(f"{file}: of version {int(content['version'])}, not {_VERSION}. {remedy}")
                held, actual = int(content["shard_size"]), os.stat(shard).st_size
                if held != actual:
                    raise InputError(f"{file}: is of a tar file of {held} bytes, {shard} has {actual}. {remedy}")
                names = PackedStrings.from_arrays(content["names"], content["ends"])
                return cls(names, content["offsets"], content["sizes"])
        except FileNotFoundError:
            if not os.path.exists(shard):
                raise InputError(f"{shard}: no such tar file. Check data_root and shards.") from None
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{file}: not a readable index ({error}). {remedy}") from error

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
                offsets=self.offsets, sizes=self.sizes,
            )
        return file


def _checked_name(member: tarfile.TarInfo, shard: str) -> str | None:
    """A file's name; None for folders and hidden files."""
    name = member.name.removeprefix("./")
    if member.isdir() or os.path.basename(name).startswith("."):
        return None
    if not member.isreg() or member.issparse():
        raise InputError(
            f"{shard}: {member.name} is a link or a sparse file, whose bytes are elsewhere. Pack the photos with "
            "mmsscl shards write, or tar --dereference --hard-dereference."
        )
    if "://" in name:
        raise InputError(f"{shard}: {member.name} has '://' in its name, which marks addresses. Rename the file.")
    return name
