"""The folder that downloads are kept in: where it is, what is in it, and who may write there now."""
import errno
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

# no file of a model has a name that begins with a dot
_RECORD_NAME = ".record.json"


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


@contextmanager
def disk_faults(folder: Path, what: str) -> Iterator[None]:
    """Say in plain words what a disk would not do.

    Args:
        folder: In the cache, that is written to.
        what: Is written.

    Raises:
        InputError: It is full, or does not allow it.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            fault = f"the disk is full ({error.strerror}). Make room, or name a cache on another disk by {CACHE_VARIABLE}"
        else:
            fault = f"{error}. Check the folder's permissions, or name another cache by {CACHE_VARIABLE}"
        raise InputError(f"{what}: cannot be written to {folder}: {fault}; what came so far is kept.") from error


def read_record(name: str) -> dict[str, Any] | None:
    """What is known of a model's download.

    It holds ``file``, ``sha256``, ``url``, ``pinned``, and ``backbone`` where the file was converted. ``pinned`` says that
    the hash is that of the first download and no metafile's. The record lies in the model's folder and goes with it.

    Returns:
        None where there is none.

    Raises:
        InputError: It is damaged.
    """
    file = place_in_cache(name) / _RECORD_NAME
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        if _is_part(record) and ("backbone" not in record or _is_part(record["backbone"])):
            return dict(record)
        fault = "it holds something else"
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        fault = str(error)
    raise InputError(
        f"{file}: not the record of a download that it should be ({fault}). Delete the folder: the file is then downloaded "
        "anew, and must be accepted again if its hash is not published."
    )


def _is_part(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(key), str) for key in ("file", "sha256"))
        and PLAIN_NAME.fullmatch(value["file"]) is not None
    )


def read_records() -> dict[str, dict[str, Any]]:
    """All records, by model.

    Raises:
        InputError: One is damaged.
    """
    names = sorted(file.parent.name for file in cache_folder().glob(f"weights/*/{_RECORD_NAME}"))
    found = {name: read_record(name) for name in names if PLAIN_NAME.fullmatch(name) is not None}
    return {name: record for name, record in found.items() if record is not None}


def write_record(name: str, record: dict[str, Any]) -> None:
    """Keep what is known of a download, in the folder that the caller has :func:`locked`; the file is whole at any moment.

    Raises:
        OSError: It cannot be written.
    """
    with atomic_file(place_in_cache(name) / _RECORD_NAME) as stream:
        stream.write((json.dumps(record, indent=1, sort_keys=True) + "\n").encode())
