"""Read a work dir, draw what it holds, write one page."""
from collections.abc import Sequence
from pathlib import Path

from mmsscl.atomic_file import atomic_file
from mmsscl.engine.output_folder import writable_folder
from mmsscl.errors import InputError
from mmsscl.visualization.report.curves import charts_of
from mmsscl.visualization.report.page import page
from mmsscl.visualization.report.pictures import galleries_of
from mmsscl.visualization.report.read_run import read_run
from mmsscl.visualization.report.results import find_results, last_validation


def write_report(
    work_dir: str | Path, out: str | Path | None = None, results: Sequence[str] = (), photos: int = 4
) -> Path:
    """Write the report of a run: one HTML file that needs no other and no network.

    Nothing in the work dir is run: its config is read as plain values, its checkpoints without code.

    Args:
        work_dir: Of a training, finished or not.
        out: The file; None: ``report.html`` in the work dir.
        results: Files of scores, or folders with some, beside those below the work dir.
        photos: How many are drawn in each section of pictures; 0: none, which takes a second rather than some ten.

    Returns:
        The file.

    Raises:
        InputError: The work dir is absent or holds no logs, a file of results is unusable, or ``out`` cannot be written.

    Example:
        >>> write_report("work_dirs/scrl_r50_coco")                # doctest: +SKIP
        PosixPath('work_dirs/scrl_r50_coco/report.html')
    """
    if photos < 0:
        raise InputError(f"--photos {photos}: give a number from 0 (no pictures).")
    run = read_run(work_dir)
    file = Path(out).expanduser() if out is not None else run.folder / "report.html"
    if file.is_dir():
        raise InputError(f"--out {file}: is a folder. Name the html file to write.")
    # before the pictures, which take a while
    writable_folder(file.parent)
    tables = last_validation(run) + find_results(run.folder, results)
    content = page(run, charts_of(run), galleries_of(run, photos), tables)
    try:
        with atomic_file(file) as stream:
            stream.write(content)
    except OSError as error:
        raise InputError(f"--out {file}: cannot be written ({error.strerror}). Choose another with --out.") from error
    return file
