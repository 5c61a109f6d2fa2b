"""The folder that downloads are kept in: where it is, what is in it, and who may write there now."""
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmsscl.atomic_file import atomic_file
from mmsscl.errors import InputError
from mmsscl.zoo.entry import PLAIN_NAME

CACHE_VARIABLE = "MMSSCL_CACHE"
"""Environment variable: the cache folder."""


def cache_folder() -> Path:
    """``MMSSCL_CACHE``, else ``mmsscl`` in ``XDG_CACHE_HOME``, else ``~/.cache/mmsscl``; it need not exist."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    # a relative one is to be ignored, says its specification
    return (Path(shared) if os.path.isabs(shared) else Path.home() / ".cache") / "mmsscl"


def own_zoo() -> Path:
    """The user's zoo, which ``mmsscl zoo add`` publishes into."""
    return cache_folder() / "zoo"


def place_in_cache(*names: str) -> Path:
    """A path among the downloads.

    Args:
        *names: Folders and file below it; of letters, digits and ``. _ + -``.

    Raises:
        InputError: A name could lead out of the cache.

    Example:
        >>> place_in_cache("scrl", "../../.bashrc")
        Traceback (most recent call last):
        mmsscl.errors.InputError: '../../.bashrc': leads out of the cache ...
    """
    for name in names:
        if PLAIN_NAME.fullmatch(name) is None:
            raise InputError(
                f"{name!r}: leads out of the cache {cache_folder()}, or might. Names hold letters, digits and . _ + - only."
            )
    return cache_folder().joinpath("weights", *names)


@contextmanager
def locked(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Work in a folder of the cache alone; others wait until the block ends, or its process does.

    Args:
        folder: Is made where it is missing.
        say: Is told when there is somebody to wait for.

    Raises:
        InputError: The folder cannot be made, or its file system knows no locks.
    """
    remedy = f"Name another folder by {CACHE_VARIABLE}."
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # stays: deleting it would let a third process lock another file of the same name
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({error.strerror}). {remedy}") from error
    with file:
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"{folder}: another process is at work there; waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise InputError(f"{folder}: its file system knows no locks ({error.strerror}). {remedy}") from error
        yield


def read_records() -> dict[str, dict[str, Any]]:
    """What was downloaded: by model, ``file``, ``sha256``, ``url``, ``pinned`` and ``backbone`` where it was converted.

    ``pinned`` says that the hash is that of the first download and no metafile's. Records stay when files are deleted.

    Raises:
        InputError: The file is damaged.
    """
    file = _records_file()
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, dict) and all(isinstance(value, dict) and "sha256" in value for value in content.values()):
            return content
        fault = "it holds something else"
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        fault = str(error)
    raise InputError(
        f"{file}: not the record of downloads that it should be ({fault}). Delete it: verified models are then recorded "
        "anew, unverified ones must be accepted again."
    )


def write_record(name: str, record: dict[str, Any]) -> None:
    """Keep what is known of a download; the file is whole at any moment, whoever else writes to it."""
    with locked(_records_file().parent, lambda _: None):
        records = {**read_records(), name: record}
        with atomic_file(_records_file()) as stream:
            stream.write((json.dumps(records, indent=1, sort_keys=True) + "\n").encode())


def _records_file() -> Path:
    return cache_folder() / "weights" / "downloads.json"
