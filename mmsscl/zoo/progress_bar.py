"""A bar for downloads, on a terminal only."""
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mmsscl.zoo.download import Progress


@contextmanager
def progress_bar(name: str) -> Iterator[Progress | None]:
    """Show how far a download is, on standard error; nothing where that is no terminal.

    Args:
        name: What is downloaded.

    Yields:
        What to tell the bytes that are here and the total; None: there is no terminal.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    # standard output stays what it is: a path on it may be for $(...)
    with RichProgress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
