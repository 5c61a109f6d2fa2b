"""Where in a tar file a photo lies, as one string that stands where a path does."""
import re
from typing import NamedTuple

from mmsscl.errors import InputError

_PATTERN = re.compile(r"tar://(?P<shard>.+?)\?offset=(?P<offset>\d+)&size=(?P<size>\d+)/(?P<name>.+)", re.DOTALL)


class TarAddress(NamedTuple):
    """A file within a tar file.

    Attributes:
        shard: Path of the tar file.
        offset: Of the file's first byte.
        size: In bytes.
        name: Of the file; only told, since its place is known.

    Example:
        >>> str(TarAddress("shards/photos-000000.tar", 1536, 48213, "train2017/0001.jpg"))
        'tar://shards/photos-000000.tar?offset=1536&size=48213/train2017/0001.jpg'
    """

    shard: str
    offset: int
    size: int
    name: str

    def __str__(self) -> str:
        return f"tar://{self.shard}?offset={self.offset}&size={self.size}/{self.name}"

    @classmethod
    def parse(cls, address: str) -> "TarAddress":
        """From its string.

        Raises:
            InputError: It is not of that form.
        """
        match = _PATTERN.fullmatch(address)
        if match is None:
            raise InputError(
                f"{address}: not the address of a photo in a tar file, tar://SHARD?offset=BYTES&size=BYTES/NAME. Let "
                "SceneImages(shards=...) make it."
            )
        return cls(match["shard"], int(match["offset"]), int(match["size"]), match["name"])
