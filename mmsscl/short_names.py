"""Captions for files."""
import os
from collections.abc import Sequence
from pathlib import Path


def short_names(files: Sequence[str | os.PathLike]) -> list[str]:
    """The shortest ends of the files' paths that tell them apart, without the file ending where that suffices.

    Args:
        files: paths; one that is given again is numbered.

    Example:
        >>> short_names(["a/run/epoch_1.pth", "b/run/epoch_1.pth", "b/run/epoch_2.pth"])
        ['a/run/epoch_1', 'b/run/epoch_1', 'epoch_2']
    """
    whole = [Path(os.path.abspath(file)) for file in files]
    endings: dict[Path, set[Path]] = {}
    for path in whole:
        endings.setdefault(path.with_suffix(""), set()).add(path)
    kept = [path.with_suffix("") if len(endings[path.with_suffix("")]) == 1 else path for path in whole]
    names: list[str] = []
    for position, path in enumerate(kept):
        others = {other.parts for other in kept} - {path.parts}
        length = 1
        while any(other[-length:] == path.parts[-length:] for other in others):
            length += 1
        again = kept[:position].count(path)
        names.append(Path(*path.parts[-length:]).as_posix() + (f" ({again + 1})" if again else ""))
    return names
