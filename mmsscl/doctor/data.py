"""Check every photo of a data set: ``mmsscl doctor data``."""
import argparse
import os
from pathlib import Path

from rich.console import Console
from rich.progress import track

from mmsscl.atomic_file import atomic_file
from mmsscl.datasets.check_photos import check_photos
from mmsscl.datasets.listed_photos import listed_photos
from mmsscl.datasets.shards import TarAddress
from mmsscl.engine.output_folder import writable_folder
from mmsscl.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line's arguments to a parser."""
    parser.add_argument("path", help="a folder of photos or tar files, a text file with a path a line, or a COCO json")
    parser.add_argument("--root", help="folder that the paths in a list or json are relative to (default: the file's)")
    parser.add_argument("--out", metavar="FILE", help="write the bad photos there: path, tab, what is wrong")
    parser.add_argument("--good", metavar="FILE", help="write a list of the good ones, fit for SceneImages' ann_file")
    parser.add_argument("--workers", type=int, help="processes (default: one a core; 0: none beside this one)")


def main(args: argparse.Namespace) -> tuple[int, list[tuple[str, str]]]:
    """Check, and write the lists asked for.

    Returns:
        How many photos there are, and the bad ones: path and what is wrong.

    Raises:
        InputError: No such data set, or an output that cannot be written.
    """
    if args.workers is not None and args.workers < 0:
        raise InputError(f"--workers {args.workers}: give a number of processes, 0 for none beside this one.")
    for option in ("out", "good"):
        value = getattr(args, option)
        if value is not None:
            if Path(value).is_dir():
                raise InputError(f"--{option} {value}: is a folder. Name the file to write.")
            writable_folder(Path(value).parent, f"--{option}")
    paths = listed_photos(args.path, args.root)
    console = Console(stderr=True)
    found = track(check_photos(paths, args.workers), "reading", total=len(paths), console=console)
    bad = [(path, reason) for reason, path in zip(found, paths) if reason is not None]
    if args.out is not None:
        _write(args.out, [f"{path}\t{reason}" for path, reason in bad])
    if args.good is not None:
        wrong = {path for path, _ in bad}
        _write(args.good, [_absolute(path) for path in paths if path not in wrong])
    return len(paths), bad


def _absolute(path: str) -> str:
    if not path.startswith("tar://"):
        return os.path.abspath(path)
    address = TarAddress.parse(path)
    return str(address._replace(shard=os.path.abspath(address.shard)))


def _write(file: str, lines: list[str]) -> None:
    broken = next((line for line in lines if "\n" in line), None)
    if broken is not None:
        raise InputError(f"{broken!r}: has a line break in its name, which no list can hold. Rename it.")
    try:
        with atomic_file(file) as stream:
            stream.write("".join(f"{line}\n" for line in lines).encode(errors="surrogateescape"))
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error.strerror}). Choose another file.") from error
