"""Parts of a labelled folder: drawn, or read from a list."""
import hashlib
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from mmsscl.atomic_file import atomic_file
from mmsscl.datasets.photo_files import PhotoFiles
from mmsscl.datasets.scene_images import EXTENSIONS
from mmsscl.errors import InputError


def class_names(folder: str | os.PathLike) -> list[str]:
    """Names of the classes of a folder: its subfolders, sorted; hidden ones are skipped.

    Raises:
        InputError: There is no such folder, or it holds fewer than two.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise InputError(f"{folder}: no such folder. Give one that holds a folder of photos for each class.")
    with os.scandir(root) as entries:
        classes = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise InputError(f"{folder}: holds {len(classes)} class folders; at least two are needed, one for each class.")
    return classes


def class_files(folder: str | os.PathLike) -> dict[str, list[str]]:
    """Photos of a folder by class.

    Args:
        folder: Holds a folder for each class; photos are searched in these at any depth.

    Returns:
        For each class, in the order of :func:`class_names`, sorted paths relative to ``folder``, with ``/``.

    Raises:
        InputError: As :func:`class_names`; a class has no photos.
    """
    root = Path(folder).expanduser()
    found = {}
    for name in class_names(folder):
        photos = PhotoFiles.from_folder(str(root / name), EXTENSIONS)
        found[name] = [PurePosixPath(os.path.relpath(photos[i], root)).as_posix() for i in range(len(photos))]
    return found


def split_labels(
    files: Mapping[str, Sequence[str]], percent: float | None = None, shots: int | None = None, seed: int = 0
) -> dict[str, list[str]]:
    """Draw the same share of every class, the same on every machine.

    Photos of a class are ordered by a hash of the seed and of their path, and the first are taken. So a smaller share
    lies within a larger one of the same seed, and photos that come or go leave the order of the others as it is.

    Args:
        files: Paths by class, as :func:`class_files` gives.
        percent: Of each class's photos, above 0 to 100, rounded, at least one photo.
        shots: Photos of each class, instead of ``percent``.
        seed: Of the draw.

    Returns:
        Sorted paths by class.

    Raises:
        InputError: Both or none of ``percent`` and ``shots`` are given, one is out of its range, or a class has no
            photos, or fewer than ``shots``.
    """
    if (percent is None) == (shots is None):
        raise InputError(f"percent={percent}, shots={shots}: give one of the two.")
    if percent is not None and not 0 < percent <= 100:
        raise InputError(f"percent={percent}: give a value above 0, up to 100.")
    if shots is not None and shots < 1:
        raise InputError(f"shots={shots}: give a whole number from 1.")
    chosen = {}
    for name, paths in files.items():
        if not paths:
            raise InputError(f"class {name!r}: has no photos, so the split would lack it. Add some, or remove the class.")
        if shots is not None and len(paths) < shots:
            raise InputError(f"class {name!r}: has {len(paths)} photos, fewer than shots={shots}. Give fewer shots.")
        count = shots if percent is None else max(1, math.floor(len(paths) * percent / 100 + 0.5))
        chosen[name] = sorted(sorted(paths, key=lambda path: (_draw(seed, path), path))[:count])
    return chosen


def read_label_list(
    file: str | os.PathLike, folder: str | os.PathLike, classes: Sequence[str], check_files: bool = True
) -> list[tuple[str, int]]:
    """Photos and labels that a list names.

    A line is ``class/name.jpg 3`` (mmpretrain's), ``class/name.jpg``, or only the name of a file where its class precedes
    the last underscore, as in the lists that SimCLR published (``n01440764_10074.JPEG`` lies in ``n01440764/``). Blank
    lines are skipped.

    Args:
        file: The list, UTF-8.
        folder: What its paths are relative to; holds a folder for each class.
        classes: Names of the classes; a label is a position in them.
        check_files: Whether each photo must exist.

    Returns:
        Paths relative to ``folder`` and labels, in the list's order.

    Raises:
        InputError: There is no such list, it is no text, or empty; naming the line: a label outside the classes or not
            that of the photo's folder, an unknown class, an absent photo, a photo that is listed twice; a class that no
            line has.
    """
    try:
        lines = Path(file).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{file}: the list cannot be read ({error.strerror}). Give a text file, a photo a line.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not a text file in UTF-8. Give one with a photo a line.") from error
    root, number_of = Path(folder).expanduser(), {name: label for label, name in enumerate(classes)}
    found: list[tuple[str, int]] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        path, label = _read_line(line.strip(), number_of, where)
        if path in seen:
            raise InputError(f"{where}: {path} is in line {seen[path]} already. List each photo once.")
        if check_files and not (root / path).is_file():
            raise InputError(f"{where}: {path} is not in {folder}. Give the folder that the list was made for.")
        seen[path] = number
        found.append((path, label))
    if not found:
        raise InputError(f"{file}: names no photo. Write one a line, 'class/name.jpg label'.")
    _require_every_class(found, classes, file)
    return found


def write_label_list(file: str | os.PathLike, labelled: Sequence[tuple[str, int]]) -> None:
    """Write lines ``path label``, as mmpretrain's ``ann_file`` has them.

    Raises:
        InputError: The file cannot be written.
    """
    try:
        with atomic_file(file) as stream:
            stream.write("".join(f"{path} {label}\n" for path, label in labelled).encode())
    except OSError as error:
        raise InputError(f"{file}: the list cannot be written there ({error.strerror}). Choose another place.") from error


def with_labels(chosen: Mapping[str, Sequence[str]]) -> list[tuple[str, int]]:
    """Paths and labels of photos by class; the label is the class's position."""
    return [(path, label) for label, paths in enumerate(chosen.values()) for path in paths]


def _draw(seed: int, path: str) -> bytes:
    return hashlib.sha256(f"{seed}:{path}".encode(errors="surrogateescape")).digest()


def _read_line(line: str, number_of: Mapping[str, int], where: str) -> tuple[str, int]:
    path, _, last = line.rpartition(" ")
    given: int | None = int(last) if path and last.isdecimal() else None
    path = (path if given is not None else line).strip()
    if "/" not in path and given is None:
        prefix = path.rpartition("_")[0]
        if prefix not in number_of:
            raise InputError(f"{where}: {path!r} does not tell its class: {prefix!r} is none. Write 'class/name.jpg label'.")
        path = f"{prefix}/{path}"
    if given is not None and given >= len(number_of):
        raise InputError(
            f"{where}: label {given} of {path} is outside the {len(number_of)} classes. Count them from 0, in the order of "
            "the folders' names."
        )
    own = number_of.get(path.partition("/")[0])
    if own is None and given is None:
        raise InputError(f"{where}: {path.partition('/')[0]!r} is no class. Write 'class/name.jpg label'.")
    if own is not None and given is not None and own != given:
        raise InputError(
            f"{where}: label {given} does not fit {path}, whose folder is class {own}. Count the classes from 0, in the "
            "order of the folders' names."
        )
    label = own if given is None else given
    assert label is not None
    return path, label


def _require_every_class(found: Sequence[tuple[str, int]], classes: Sequence[str], file: str | os.PathLike) -> None:
    counts = Counter(label for _, label in found)
    lacking = [name for label, name in enumerate(classes) if not counts[label]]
    if lacking:
        raise InputError(
            f"{file}: lists no photo of {len(lacking)} of the {len(classes)} classes ({', '.join(lacking[:5])}"
            f"{', ...' if len(lacking) > 5 else ''}). Add some: what is never shown cannot be learnt."
        )
