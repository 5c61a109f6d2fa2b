"""A folder that results can be written to, known before the work begins."""
import os
import tempfile
from pathlib import Path

from mmsscl.errors import InputError


def writable_folder(folder: str | os.PathLike, option: str = "--out") -> Path:
    """Make a folder, with those above it, and try to write into it.

    Args:
        folder: the folder.
        option: of the command line that named it, for the message.

    Raises:
        InputError: it cannot be made or written to.
    """
    folder = Path(folder).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{option}: {folder} cannot be written to ({error.strerror}). Choose another folder.") from error
    return folder
