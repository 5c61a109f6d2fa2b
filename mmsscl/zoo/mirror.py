"""The mirror that ``MMSSCL_ZOO`` names, and what it listed when it was last reached."""
import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlparse

from mmsscl.atomic_file import atomic_file
from mmsscl.errors import InputError
from mmsscl.zoo.cache import cache_folder
from mmsscl.zoo.entry import URL_SCHEMES
from mmsscl.zoo.transport import MIRROR_VARIABLE, path_of, read_text


def mirror_url() -> str | None:
    """The base URL under ``MMSSCL_ZOO``, or None.

    Raises:
        InputError: It is no URL of scheme http, https or file.
    """
    given = os.environ.get(MIRROR_VARIABLE, "").strip()
    if not given:
        return None
    if urlparse(given).scheme not in URL_SCHEMES:
        remedy = f"For a folder write {Path(given).expanduser().absolute().as_uri()}" if "://" not in given else ""
        raise InputError(f"{MIRROR_VARIABLE}={given}: is no address of http://, https:// or file:///. {remedy}")
    path_of(given)
    return given.rstrip("/")


class IndexCopy:
    """The texts of a mirror's index and metafiles, kept in the cache for machines that sometimes have no network.

    Args:
        base: URL of the mirror.
    """

    def __init__(self, base: str) -> None:
        self.texts: dict[str, str] = {}
        self._file = cache_folder() / "mirrors" / f"{hashlib.sha256(base.encode()).hexdigest()[:16]}.json"

    def read(self, url: str) -> str:
        """The text at a URL, remembered."""
        self.texts[url] = read_text(url)
        return self.texts[url]

    def save(self) -> None:
        """Keep what was read; a cache that cannot be written to is no reason to fail."""
        content = json.dumps(self.texts).encode()
        with suppress(OSError):
            if not self._file.is_file() or self._file.read_bytes() != content:
                with atomic_file(self._file) as stream:
                    stream.write(content)

    def load(self) -> bool:
        """Take what was read before; False where there is nothing, or it is damaged."""
        try:
            self.texts = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return True
