"""Pack photos into tar files, and index tar files: ``mmsscl shards``."""
import argparse
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import track

from mmsscl.atomic_file import atomic_file, remove_unfinished
from mmsscl.datasets.listed_photos import listed_photos
from mmsscl.datasets.shards.index import SUFFIX, ShardIndex
from mmsscl.engine.output_folder import writable_folder
from mmsscl.errors import InputError

MEGABYTE = 1_000_000
_DIGITS = 6


def shard_name(prefix: str, number: int) -> str:
    """Name of a tar file, such as ``photos-000007.tar``."""
    return f"{prefix}-{number:0{_DIGITS}d}.tar"


def write_shards(
    paths: Iterable[str], root: str, folder: str | os.PathLike, most_bytes: int = 1000 * MEGABYTE, prefix: str = "photos"
) -> Iterator[tuple[Path, int, bool]]:
    """Pack photos into tar files of about one size, each with its index, in the order given.

    The bytes of the photos are copied as they are. A tar file gets its name when it is whole; where one with the same
    photos is there already, it is kept, so the same call goes on after a crash.

    Args:
        paths: Of the photos.
        root: A folder that all of them are in; the names in the tar files are relative to it.
        folder: Where to write; made where it is missing.
        most_bytes: Of a tar file; a photo larger than that gets one of its own.
        prefix: How their names begin.

    Yields:
        Each tar file, its photos, and whether it was written now.

    Raises:
        InputError: A photo is absent or changes meanwhile, nothing can be written, or the folder holds other tar files of
            that prefix than these.

    Example:
        >>> for shard, photos, written in write_shards(paths, "coco", "shards"):  # doctest: +SKIP
        ...     print(shard, photos)
    """
    folder = Path(folder)
    writable_folder(folder, "the folder of the tar files")
    remove_unfinished(folder)
    written = set()
    for number, members in enumerate(_parts(paths, most_bytes)):
        shard = folder / shard_name(prefix, number)
        written.add(shard)
        names = [os.path.relpath(path, root) for path, _ in members]
        there = _is_there(shard, names, [size for _, size in members])
        if not there:
            _write(shard, names, members)
        yield shard, len(members), not there
    others = sorted(set(folder.glob(f"{prefix}-*.tar")) - written)
    if others:
        raise InputError(
            f"{folder}: also holds {len(others)} tar file(s) of other photos, first {others[0].name}. Delete them (they "
            "would count as part of this data set), or choose another folder or prefix."
        )


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line's arguments to a parser."""
    parser.add_argument("what", choices=["write", "index"], help="pack photos, or list what is in tar files that are there")
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="write: the photos (a folder, a text file with a path a line, or a COCO json), and a folder for the tar files; "
        "index: tar files, or folders of them",
    )
    parser.add_argument("--root", help="write: folder that paths in a list or json are relative to (default: the file's)")
    parser.add_argument("--megabytes", type=float, default=1000, help="write: size of a tar file (default 1000)")
    parser.add_argument("--prefix", default="photos", help="write: how names of tar files begin (default photos)")
    parser.add_argument("--workers", type=int, help="index: processes (default: one a core)")


def main(args: argparse.Namespace) -> str:
    """Pack or index, with a progress bar on standard error.

    Returns:
        What was done, in one line.

    Raises:
        InputError: As of :func:`write_shards` and :func:`index_shards`; or an argument makes no sense.
    """
    return _write_command(args) if args.what == "write" else _index_command(args)


def _write_command(args: argparse.Namespace) -> str:
    if len(args.paths) != 2:
        raise InputError("mmsscl shards write: give two paths, the photos and the folder for the tar files.")
    if not args.megabytes > 0:
        raise InputError(f"--megabytes {args.megabytes:g}: give a size above 0.")
    if os.sep in args.prefix or not args.prefix:
        raise InputError(f"--prefix {args.prefix!r}: give the beginning of a file name, not a folder.")
    photos, folder = args.paths
    paths = [os.path.abspath(path) for path in listed_photos(photos, args.root)]
    # as strings sort, what the first and the last begin with, all begin with
    root = os.path.commonpath([os.path.dirname(min(paths)), os.path.dirname(max(paths))])
    progress = track(paths, "packing", console=Console(stderr=True))
    parts = list(write_shards(progress, root, folder, int(args.megabytes * MEGABYTE), args.prefix))
    kept = sum(not written for *_, written in parts)
    more = f", {kept} of them there already" if kept else ""
    return f"{len(paths)} photos in {len(parts)} tar files{more}; train with data_root={folder!r}, shards='*.tar'"


def _index_command(args: argparse.Namespace) -> str:
    if args.workers is not None and args.workers < 1:
        raise InputError(f"--workers {args.workers}: give a number of processes, 1 or more.")
    shards: list[str] = []
    for path in args.paths:
        found = sorted(str(file) for file in Path(path).glob("*.tar")) if os.path.isdir(path) else [path]
        if not found:
            raise InputError(f"{path}: no .tar file in this folder. Name tar files or their folder.")
        shards += found
    counts = track(index_shards(shards, args.workers), "indexing", total=len(shards), console=Console(stderr=True))
    return f"{sum(counts)} files in {len(shards)} tar files indexed"


def _parts(paths: Iterable[str], most_bytes: int) -> Iterator[list[tuple[str, int]]]:
    """Paths and sizes of the photos of one tar file after the other."""
    part: list[tuple[str, int]] = []
    total = 0
    for path in paths:
        try:
            size = os.stat(path).st_size
        except OSError as error:
            raise InputError(
                f"{path}: the photo cannot be read ({error.strerror}). Pack a list of those that can: mmsscl doctor data "
                "PHOTOS --good good.txt."
            ) from error
        if part and total + size > most_bytes:
            yield part
            part, total = [], 0
        part.append((path, size))
        total += size
    if part:
        yield part


def _is_there(shard: Path, names: list[str], sizes: list[int]) -> bool:
    """Whether a tar file with these very photos has been written; it is indexed last."""
    try:
        index = ShardIndex.read(str(shard))
    except InputError:
        return False
    return index is not None and index.sizes.tolist() == sizes and list(index.names) == names


def _write(shard: Path, names: list[str], members: list[tuple[str, int]]) -> None:
    try:
        Path(f"{shard}{SUFFIX}").unlink(missing_ok=True)
        with atomic_file(shard) as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, (path, size) in zip(names, members):
                member = tarfile.TarInfo(name)
                member.size = size
                with open(path, "rb") as photo:
                    tar.addfile(member, photo)
                    if photo.read(1):
                        raise InputError(f"{path}: has grown while it was packed. Run the same command again.")
        packed = ShardIndex.scan(str(shard))
        packed.write(str(shard))
    except OSError as error:
        raise InputError(f"{shard}: not written ({error}). Mend that, then run the same command again.") from error
    left_out = set(names) - set(packed.names)
    if left_out:
        name = sorted(left_out)[0]
        raise InputError(f"{name}: a hidden file, which tar files are read without. Rename it, or take it out of the list.")


def _index(shard: str) -> int:
    index = ShardIndex.scan(shard)
    try:
        index.write(shard)
    except OSError as error:
        raise InputError(f"{shard}: its index cannot be written beside it ({error.strerror}).") from error
    return len(index.names)
