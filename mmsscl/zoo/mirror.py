"""The mirror that ``MMSSCL_ZOO`` names, and what it listed when it was last reached."""
import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mmsscl.atomic_file import atomic_file
from mmsscl.errors import InputError
from mmsscl.zoo.address import is_url, path_of
from mmsscl.zoo.cache import cache_folder
from mmsscl.zoo.transport import MIRROR_VARIABLE, NotThereError, read_text


def mirror_url() -> str | None:
    """The base URL under ``MMSSCL_ZOO``, or None.

    Raises:
        InputError: It is no URL of scheme http, https or file, names another machine's file, or holds a password.
    """
    given = os.environ.get(MIRROR_VARIABLE, "").strip()
    if not given:
        return None
    if not is_url(given):
        folder = Path(given).expanduser().absolute().as_uri()
        raise InputError(f"{MIRROR_VARIABLE}={given}: is no address. For a folder write {folder}")
    try:
        path_of(given)
    except InputError as error:
        raise InputError(f"{MIRROR_VARIABLE}: {error}") from error
    return given.rstrip("/")


class IndexCopy:
    """The texts of a mirror's index and metafiles, kept in the cache for machines that sometimes have no network.

    Args:
        base: URL of the mirror.
        say: Is told of interruptions.
    """

    def __init__(self, base: str, say: Callable[[str], None]) -> None:
        self._say = say
        self._texts: dict[str, str] = {}
        self._file = cache_folder() / "mirrors" / f"{hashlib.sha256(base.encode()).hexdigest()[:16]}.json"

    def read(self, url: str) -> str:
        """The text at a URL, remembered."""
        self._texts[url] = read_text(url, say=self._say)
        return self._texts[url]

    def save(self) -> None:
        """Keep what was read; a cache that cannot be written to is no reason to fail."""
        content = json.dumps(self._texts).encode()
        with suppress(OSError):
            if not self._file.is_file() or self._file.read_bytes() != content:
                with atomic_file(self._file) as stream:
                    stream.write(content)

    def recall(self, url: str) -> str:
        """The text at a URL as it was when :meth:`save` was last called.

        Raises:
            NotThereError: Nothing was kept, or it is damaged.
        """
        try:
            return str(json.loads(self._file.read_text(encoding="utf-8"))[url])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise NotThereError(f"{self._file}: holds no copy of {url} ({error}).") from error
