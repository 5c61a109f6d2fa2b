"""Write a matplotlib figure whole or not at all."""
from pathlib import Path

from matplotlib.figure import Figure

from mmsscl.atomic_file import atomic_file
from mmsscl.errors import InputError

FORMATS = (".png", ".svg", ".pdf")


def check_figure_file(path: str | Path) -> Path:
    """The path, if a figure can have it; ask before the work begins.

    Raises:
        InputError: It is a folder, or does not end in one of ``FORMATS``.
    """
    file = Path(path).expanduser()
    if file.is_dir() or file.suffix.lower() not in FORMATS:
        raise InputError(f"--out {path}: name a file that ends in {', '.join(FORMATS)}.")
    return file


def write_figure(figure: Figure, file: Path) -> None:
    """Write it in the format that the file's ending says, making its folder.

    Raises:
        InputError: The file cannot be written.
    """
    try:
        with atomic_file(file) as stream:
            figure.savefig(stream, format=file.suffix[1:].lower(), dpi=130)
    except OSError as error:
        raise InputError(f"--out {file}: cannot be written ({error.strerror}). Choose another.") from error
