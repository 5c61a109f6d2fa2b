"""Pack photos into tar files, and index tar files: ``mmsscl shards``."""
import argparse
import glob
import math
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress, track

from mmsscl.atomic_file import atomic_file, remove_unfinished
from mmsscl.datasets.listed_photos import listed_photos
from mmsscl.datasets.scene_images import EXTENSIONS
from mmsscl.datasets.shards.index import SUFFIX, UNFINISHED, ShardIndex, is_hidden
from mmsscl.engine.output_folder import writable_folder
from mmsscl.errors import InputError

MEGABYTE = 1_000_000
_DIGITS = 6


def shard_name(prefix: str, number: int) -> str:
    """Name of a tar file, such as ``photos-000007.tar``."""
    return f"{prefix}-{number:0{_DIGITS}d}.tar"


def write_shards(
    paths: Sequence[str],
    root: str,
    folder: str | os.PathLike,
    most_bytes: int = 1000 * MEGABYTE,
    prefix: str = "photos",
    overwrite: bool = False,
) -> Iterator[tuple[Path, int, bool]]:
    """Pack photos into tar files of about one size, each with its index, in the order given.

    The bytes of the photos are copied as they are. A tar file gets its name when it is whole, and all that can be known
    before is checked before the first is written. Where one with the same photos is there already it is kept, so the same
    call goes on after a crash; until it has ended a file ``PREFIX.unfinished`` lies there, with which nothing trains.

    Args:
        paths: Of the photos.
        root: A folder that all of them are in; the names in the tar files are relative to it.
        folder: Where to write; made where it is missing.
        most_bytes: Of a tar file; a photo larger than that gets one of its own.
        prefix: How their names begin.
        overwrite: Whether tar files of that prefix with other photos are replaced.

    Yields:
        Each tar file, its photos, and whether it was written now.

    Raises:
        InputError: A photo is absent, named twice, hidden, without the ending of a photo, or changes meanwhile; the folder
            holds tar files of that prefix with other photos; nothing can be written.

    Example:
        >>> for shard, photos, written in write_shards(paths, "coco", "shards"):  # doctest: +SKIP
        ...     print(shard, photos)
    """
    folder = writable_folder(folder, "the folder of the tar files")
    _require_names(paths, root)
    parts = list(_parts(paths, root, most_bytes))
    shards = [folder / shard_name(prefix, number) for number in range(len(parts))]
    there = [_is_there(shard, part) for shard, part in zip(shards, parts)]
    numbered = re.compile(re.escape(prefix) + r"-\d+\.tar")
    others = {path for path in folder.iterdir() if numbered.fullmatch(path.name)}
    others -= {shard for shard, whole in zip(shards, there) if whole}
    if others and not overwrite:
        raise InputError(
            f"{folder}: holds {len(others)} tar file(s) of that prefix with other photos, or with these before they "
            f"changed, first {min(others).name}. Choose another folder or prefix, or replace them with --overwrite."
        )
    remove_unfinished(folder, prefix)
    mark = folder / f"{prefix}{UNFINISHED}"
    try:
        mark.touch()
        for other in others:
            other.unlink()
            Path(f"{other}{SUFFIX}").unlink(missing_ok=True)
        for shard, part, whole in zip(shards, parts, there):
            if not whole:
                _write(shard, part)
            elif not Path(f"{shard}{SUFFIX}").exists():
                ShardIndex.scan(str(shard)).write(str(shard))
            yield shard, len(part), not whole
        mark.unlink()
    except OSError as error:
        raise InputError(f"{folder}: not packed ({error}). Mend that, then run the same command again.") from error


def index_shards(shards: Sequence[str], workers: int | None = None) -> Iterator[int]:
    """Write the index of each tar file, by several processes.

    Args:
        shards: The tar files.
        workers: Processes; ``None``: one a core.

    Yields:
        The files in each, in the order of the tar files.

    Raises:
        InputError: One cannot be read, or its folder cannot be written to.
    """
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_index, shards)


def add_write_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``mmsscl shards write`` to a parser."""
    parser.add_argument("photos", help="a folder, a text file with a path a line, or a COCO json")
    parser.add_argument("folder", help="where the tar files go")
    parser.add_argument("--root", help="folder that paths in a list or json are relative to (default: the file's)")
    parser.add_argument("--megabytes", type=float, default=1000, help="size of a tar file (default 1000)")
    parser.add_argument("--prefix", default="photos", help="how names of tar files begin (default photos)")
    parser.add_argument("--overwrite", action="store_true", help="replace tar files of that prefix with other photos")


def add_index_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``mmsscl shards index`` to a parser."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="tar files, or folders of them")
    parser.add_argument("--workers", type=int, help="processes (default: one a core)")


def write_command(args: argparse.Namespace) -> str:
    """Pack, with a progress bar on standard error.

    Returns:
        What was done, in one line.

    Raises:
        InputError: As of :func:`write_shards`; or an argument makes no sense.
    """
    megabytes, prefix, folder = args.megabytes, args.prefix, args.folder
    if not 0 < megabytes < math.inf:
        raise InputError(f"--megabytes {megabytes:g}: give a size above 0.")
    if os.sep in prefix or prefix.startswith(".") or not re.fullmatch(r"[^*?\[\]{}]+", prefix):
        raise InputError(f"--prefix {prefix!r}: give the beginning of a file name, no folder, dot or wildcard.")
    paths = listed_photos(args.photos, args.root)
    address = next((path for path in paths if "://" in path), None)
    if address is not None:
        raise InputError(f"{address}: lies in a tar file or elsewhere already. Give photos that are files of this machine.")
    absolute = [os.path.abspath(path) for path in paths]
    # as strings sort, what the first and the last begin with, all begin with
    root = os.path.commonpath([os.path.dirname(min(absolute)), os.path.dirname(max(absolute))])
    written = kept = 0
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("packing", total=len(paths))
        for _, count, new in write_shards(paths, root, folder, int(megabytes * MEGABYTE), prefix, args.overwrite):
            progress.advance(task, count)
            written, kept = written + new, kept + (not new)
    more = f", {kept} of them there already" if kept else ""
    return (
        f"{len(paths)} photos in {written + kept} tar files{more}; train with data_root={folder!r}, shards='{prefix}-*.tar'"
    )


def index_command(args: argparse.Namespace) -> str:
    """Index, with a progress bar on standard error.

    Returns:
        What was done, in one line.

    Raises:
        InputError: As of :func:`index_shards`; or an argument makes no sense.
    """
    if args.workers is not None and args.workers < 1:
        raise InputError(f"--workers {args.workers}: give a number of processes, 1 or more.")
    shards: list[str] = []
    for path in args.paths:
        # as a pattern in a config would find them, without hidden ones
        found = sorted(glob.glob(os.path.join(glob.escape(path), "*.tar"))) if os.path.isdir(path) else [path]
        if not found:
            raise InputError(f"{path}: no .tar file in this folder. Name tar files or their folder.")
        shards += found
    counts = track(index_shards(shards, args.workers), "indexing", total=len(shards), console=Console(stderr=True))
    return f"{sum(counts)} files in {len(shards)} tar files indexed"


class _Photo(NamedTuple):
    path: str
    name: str
    size: int
    changed: float


def _require_names(paths: Sequence[str], root: str) -> None:
    """What tar files are read by, and without, must leave the photos as they are in their list."""
    seen: set[str] = set()
    for path in paths:
        name = _name(path, root)
        if name in seen:
            raise InputError(f"{path}: is named twice. A tar file holds it once: take one out of the list.")
        seen.add(name)
        if is_hidden(name):
            raise InputError(f"{path}: is hidden, and tar files are read without hidden files. Rename it, or take it out.")
        if not name.lower().endswith(EXTENSIONS):
            raise InputError(
                f"{path}: does not end in one of {', '.join(EXTENSIONS)}, by which photos in tar files are known. Rename it."
            )


def _name(path: str, root: str) -> str:
    return os.path.relpath(os.path.abspath(path), os.path.abspath(root))


def _parts(paths: Sequence[str], root: str, most_bytes: int) -> Iterator[list[_Photo]]:
    """The photos of one tar file after the other."""
    part: list[_Photo] = []
    total = 0
    for path in paths:
        try:
            status = os.stat(path)
        except OSError as error:
            raise InputError(
                f"{path}: the photo cannot be read ({error.strerror}). Pack a list of those that can: mmsscl doctor data "
                "PHOTOS --good good.txt."
            ) from error
        if part and total + status.st_size > most_bytes:
            yield part
            part, total = [], 0
        part.append(_Photo(path, _name(path, root), status.st_size, status.st_mtime))
        total += status.st_size
    if part:
        yield part


def _is_there(shard: Path, part: list[_Photo]) -> bool:
    """Whether a tar file with these very photos has been written; the index may be wanting after a crash."""
    if not shard.is_file():
        return False
    try:
        index = ShardIndex.read(str(shard)) or ShardIndex.scan(str(shard))
    except InputError:
        return False
    same = index.sizes.tolist() == [photo.size for photo in part] and list(index.names) == [photo.name for photo in part]
    return same and max(photo.changed for photo in part) <= shard.stat().st_mtime


def _write(shard: Path, part: list[_Photo]) -> None:
    Path(f"{shard}{SUFFIX}").unlink(missing_ok=True)
    with atomic_file(shard) as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for photo in part:
            member = tarfile.TarInfo(photo.name)
            member.size = photo.size
            with open(photo.path, "rb") as file:
                tar.addfile(member, file)
                if file.read(1):
                    raise InputError(f"{photo.path}: has grown while it was packed. Run the same command again.")
    ShardIndex.scan(str(shard)).write(str(shard))


def _index(shard: str) -> int:
    index = ShardIndex.scan(shard)
    try:
        index.write(shard)
    except OSError as error:
        raise InputError(f"{shard}: its index cannot be written beside it ({error.strerror}).") from error
    return len(index.names)
