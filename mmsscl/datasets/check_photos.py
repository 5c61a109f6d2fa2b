"""Whether photos can be read, all of each."""
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from mmsscl.datasets.transforms.loading import read_photo
from mmsscl.errors import UnreadableImageError

_CHUNK = 16


def why_unreadable(path: str) -> str | None:
    """Read and decode a photo.

    Args:
        path: The file.

    Returns:
        What is wrong with it, in one line without its path; ``None`` where nothing is.
    """
    try:
        read_photo(path).decode()
    except UnreadableImageError as error:
        return " ".join(str(error).removeprefix(f"{path}: ").split())
    return None


def check_photos(paths: Sequence[str], workers: int | None = None) -> Iterator[str | None]:
    """:func:`why_unreadable` of many photos, in their order, by several processes.

    Args:
        paths: The files.
        workers: Processes; ``None``: one a core; 0: this one.
    """
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers == 0:
        yield from map(why_unreadable, paths)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(why_unreadable, paths, chunksize=_CHUNK)
