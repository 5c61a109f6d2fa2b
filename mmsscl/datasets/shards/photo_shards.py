"""The photos of many tar files, by number."""
import bisect
import glob
import os
from collections.abc import Sequence

import numpy as np
from mmengine.logging import print_log

from mmsscl.datasets.packed_strings import PackedStrings
from mmsscl.datasets.shards.address import TarAddress
from mmsscl.datasets.shards.index import UNFINISHED, ShardIndex
from mmsscl.errors import InputError


class PhotoShards:
    """Addresses of the photos in tar files: the files sorted by name, the photos in the order in which they lie there.

    Each tar file's headers are read once, unless ``SHARD.index`` lies beside it (``mmsscl shards index``). Other files in
    it, such as webdataset's texts and labels, are passed over.

    Args:
        folder: What the patterns are relative to.
        patterns: Paths of tar files, with the wildcards of a shell (``*``, ``?``, ``[0-9]``).
        suffixes: How names of photos end, in lower case.

    Raises:
        InputError: There is no such tar file, one cannot be read, or no photo is in any.
    """

    def __init__(self, folder: str, patterns: Sequence[str], suffixes: tuple[str, ...]) -> None:
        self.shards = [path for pattern in patterns for path in _find(folder, pattern)]
        _require_usable(self.shards)
        buffers, ends, offsets, sizes = [], [], [], []
        self._starts = [0]
        length = unindexed = 0
        for shard in self.shards:
            index = ShardIndex.read(shard)
            if index is None:
                index = ShardIndex.scan(shard)
                unindexed += 1
            index = _photos(index, suffixes)
            buffers.append(index.names.buffer)
            ends.append(index.names.ends + length)
            offsets.append(index.offsets)
            sizes.append(index.sizes)
            length += len(index.names.buffer)
            self._starts.append(self._starts[-1] + len(index.names))
        if not self._starts[-1]:
            raise InputError(
                f"{os.path.join(folder, patterns[0])}: no images in these {len(self.shards)} tar file(s) (looked for "
                f"{', '.join(suffixes)}). Pack photos with mmsscl shards write."
            )
        self._names = PackedStrings.from_arrays(np.concatenate(buffers), np.concatenate(ends))
        self._offsets, self._sizes = np.concatenate(offsets), np.concatenate(sizes)
        if unindexed:
            print_log(
                f"{unindexed} of {len(self.shards)} tar files have no index, so all their headers were read; "
                f"mmsscl shards index {os.path.dirname(self.shards[0]) or '.'} writes it once for all runs.",
                logger="current",
            )

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> str:
        """The address of a photo."""
        name = self.name(index)
        shard = self.shards[bisect.bisect_right(self._starts, index) - 1]
        return str(TarAddress(shard, int(self._offsets[index]), int(self._sizes[index]), name))

    def name(self, index: int) -> str:
        """What a photo is called in its tar file."""
        return self._names[index]


def _find(folder: str, pattern: str) -> list[str]:
    pattern = os.path.expanduser(pattern)
    path = os.path.join(folder, pattern)
    found = [path] if os.path.isfile(path) else sorted(glob.glob(os.path.join(glob.escape(folder), pattern)))
    if not found:
        hint = " Write a range in braces as a pattern: photos-*.tar." if "{" in pattern else ""
        raise InputError(f"{path}: no such tar file. Check shards (relative to data_root and data_prefix).{hint}")
    return found


def _require_usable(shards: list[str]) -> None:
    seen: set[str] = set()
    for shard in shards:
        place = os.path.abspath(shard)
        if place in seen:
            raise InputError(f"SceneImages: shards names {shard} twice. Take it out of one of the patterns.")
        if "?offset=" in shard:
            raise InputError(f"{shard}: has '?offset=' in its path, which marks addresses. Rename the folder or the file.")
        seen.add(place)
    for folder in {os.path.dirname(shard) for shard in shards}:
        for mark in glob.glob(os.path.join(glob.escape(folder), f"*{UNFINISHED}")):
            raise InputError(f"{mark}: packing was cut short, so tar files are missing. Run mmsscl shards write again.")


def _photos(index: ShardIndex, suffixes: tuple[str, ...]) -> ShardIndex:
    """The files whose names end as those of photos do."""
    kept = np.zeros(len(index.names), dtype=bool)
    buffer, last = index.names.buffer, index.names.ends - 2
    for suffix in suffixes:
        letters = np.frombuffer(os.fsencode(suffix), dtype=np.uint8)
        # a name shorter than the suffix holds NUL, or the first byte again, where others hold the suffix
        found = buffer[np.maximum(last[:, None] - np.arange(len(letters))[::-1], 0)] if len(buffer) else np.zeros((0, 1))
        upper = (found >= ord("A")) & (found <= ord("Z"))
        kept |= (found + 32 * upper == letters).all(axis=1)
    if kept.all():
        return index
    positions = np.flatnonzero(kept)
    names = PackedStrings(index.names[position] for position in positions.tolist())
    return ShardIndex(names, index.offsets[positions], index.sizes[positions])
