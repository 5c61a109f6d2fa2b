"""Files that are whole or absent."""
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

UNFINISHED = ".part"


@contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Write a file so that a crash at any moment leaves the old one or the new one, never a part.

    The content goes to a hidden file beside it, is brought to disk, and takes the name in one step when the block ends
    well. Where it does not, the old file stays and the hidden one is deleted.

    Args:
        path: The file; its folder is made where it is missing.

    Raises:
        OSError: It cannot be written: no permission, no space.

    Example:
        >>> with atomic_file("work_dirs/run/notes.txt") as file:  # doctest: +SKIP
        ...     file.write(b"whole or absent")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}{UNFINISHED}")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise
    sync_folder(path.parent)


def remove_unfinished(folder: str | os.PathLike, beginning: str = "") -> list[str]:
    """Delete what killed processes left half written in a folder; nobody may be writing there.

    Args:
        folder: Where to look.
        beginning: Of the names of the files that were to be written; the others' are left.

    Returns:
        The names of the files deleted.
    """
    removed = []
    for file in sorted(Path(folder).glob(f".{beginning}*{UNFINISHED}")):
        with suppress(OSError):
            file.unlink()
            removed.append(file.name)
    return removed


def sync_folder(folder: Path) -> None:
    """Bring a new name in a folder to disk. Some network file systems refuse, and need no such call."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
