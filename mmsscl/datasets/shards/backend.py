"""Reading files that lie in tar files."""
import os
import threading
from collections import OrderedDict
from io import FileIO
from pathlib import Path

from mmengine.fileio import BaseStorageBackend, register_backend

from mmsscl.datasets.shards.address import TarAddress
from mmsscl.errors import UnreadableImageError

_MOST_OPEN_FILES = 256


@register_backend("tar", prefixes="tar")
class TarBackend(BaseStorageBackend):
    """mmengine's file backend for addresses ``tar://SHARD?offset=BYTES&size=BYTES/NAME``.

    One read at a place that is known: nothing is searched, unpacked or kept. Up to 256 tar files stay open in a process.
    Every transform that reads through ``mmengine.fileio`` takes such addresses, mmcv's ``LoadImageFromFile`` too.

    Example:
        >>> from mmengine.fileio import get
        >>> data = get("tar://shards/photos-000000.tar?offset=1536&size=48213/0001.jpg")  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self._files: OrderedDict[str, FileIO] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, filepath: str | Path) -> bytes:
        """The bytes of a file in a tar file.

        Raises:
            OSError: The tar file is absent or cannot be read.
            UnreadableImageError: It ends before the file does.
        """
        address = TarAddress.parse(str(filepath))
        try:
            data = _read(self._open(address.shard), address)
        except OSError:
            # a network file system forgets open files that were moved or replaced
            self._files.pop(address.shard, None)
            data = _read(self._open(address.shard), address)
        if len(data) < address.size:
            raise UnreadableImageError(
                f"{filepath}: the tar file is cut short, {len(data)} of this photo's {address.size} bytes are there. "
                "Fetch the tar file again."
            )
        return data

    def get_text(self, filepath: str | Path, encoding: str = "utf-8") -> str:
        """The text of a file in a tar file."""
        return self.get(filepath).decode(encoding)

    def _open(self, shard: str) -> FileIO:
        with self._lock:
            file = self._files.get(shard)
            if file is None:
                file = self._files[shard] = FileIO(shard)
            self._files.move_to_end(shard)
            if len(self._files) > _MOST_OPEN_FILES:
                # it closes when no thread reads from it any more
                self._files.popitem(last=False)
            return file


def _read(file: FileIO, address: TarAddress) -> bytes:
    data = b""
    # one call may read less than it is asked for
    while missing := address.size - len(data):
        more = os.pread(file.fileno(), missing, address.offset + len(data))
        if not more:
            break
        data += more
    return data
