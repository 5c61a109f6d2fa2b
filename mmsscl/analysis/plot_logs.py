"""Figures of several runs in one picture."""
import argparse
from collections.abc import Sequence

from matplotlib.figure import Figure

from mmsscl.analysis.figure_file import check_figure_file, write_figure
from mmsscl.errors import InputError
from mmsscl.names import did_you_mean, near_names
from mmsscl.short_names import short_names
from mmsscl.visualization.report.read_run import Run, read_run
from mmsscl.visualization.report.read_scalars import Series

_KINDS = ("train", "probe", "val")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line's arguments to a parser."""
    parser.add_argument("work_dirs", nargs="+", metavar="WORK_DIR", help="folders that trainings wrote their logs to")
    parser.add_argument("--keys", nargs="+", default=["loss"], help="figures, a plot each (default: loss)")
    parser.add_argument("--labels", nargs="+", help="names of the runs (default: what tells their folders apart)")
    parser.add_argument("--by", choices=["iteration", "epoch"], default="iteration", help="x axis (default: %(default)s)")
    parser.add_argument("--log", action="store_true", help="logarithmic y axis")
    parser.add_argument("--out", required=True, metavar="PNG", help="the picture; .svg and .pdf do as well")


def main(args: argparse.Namespace) -> str:
    """Draw what ``args`` asks for; returns what to tell the user.

    Raises:
        InputError: A work dir without logs, a key that no run has, or a count of labels that is not that of the runs.
    """
    file = check_figure_file(args.out)
    labels = args.labels or short_names(args.work_dirs)
    if len(labels) != len(args.work_dirs):
        raise InputError(f"--labels: {len(labels)} names for {len(args.work_dirs)} runs. Give one a run.")
    runs = [read_run(folder) for folder in args.work_dirs]
    write_figure(draw_runs(runs, labels, args.keys, args.by, args.log), file)
    plotted, of = (f"{count} {word}{'s' * (count != 1)}" for count, word in ((len(args.keys), "figure"), (len(runs), "run")))
    return f"{file}: {plotted} of {of}"


def draw_runs(
    runs: Sequence[Run], labels: Sequence[str], keys: Sequence[str], by: str = "iteration", log: bool = False
) -> Figure:
    """A plot for each key, a line for each run that has it.

    Args:
        runs: From ``read_run``: resumed ones are joined.
        labels: One a run.
        keys: Names as in ``scalars.json``: of training, of the online probe, or of validations.
        by: "iteration" or "epoch", fractions of which count within it.
        log: Logarithmic y axis.

    Raises:
        InputError: No run has a key, or ``by`` is "epoch" and a run counts iterations.
    """
    columns = min(3, len(keys))
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(5.2 * columns, 3.6 * rows), layout="constrained")
    for position, key in enumerate(keys):
        axes = figure.add_subplot(rows, columns, position + 1)
        found = [_series(run, key) for run in runs]
        if all(series is None for series in found):
            known = sorted({name for run in runs for kind in _KINDS for name in run.figures(kind)})
            hint = did_you_mean(near_names(key, known), f"Logged are: {', '.join(known)}.")
            raise InputError(f"--keys {key}: none of the runs logged it. {hint}")
        for number, (run, label, series) in enumerate(zip(runs, labels, found, strict=True)):
            if series is not None:
                places = series.iterations if by == "iteration" else _epochs(run, series)
                axes.plot(places, series.values, color=f"C{number}", label=label, marker="." if len(places) < 10 else "")
        axes.set(title=key, xlabel=by, yscale="log" if log else "linear")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure


def _series(run: Run, key: str) -> Series | None:
    return next((figures[key] for kind in _KINDS if key in (figures := run.figures(kind))), None)


def _epochs(run: Run, series: Series) -> list[float]:
    if run.epoch_length is None or all(row.epoch is None for row in run.rows):
        raise InputError(f"--by epoch: {run.folder} counts iterations, or its log is gone. Use --by iteration.")
    # a process that went on with another batch size has other epochs: iterations before it, their epochs, its own length
    starts: list[tuple[int, float, int]] = []
    for process in run.chain:
        begun, length = process.begun or 0, process.log.length or run.epoch_length
        before, done, former = starts[-1] if starts else (0, 0.0, length)
        starts.append((begun, done + (begun - before) / former, length))
    own = [next(start for start in reversed(starts) if start[0] < at or start is starts[0]) for at in series.iterations]
    return [done + (at - begun) / length for at, (begun, done, length) in zip(series.iterations, own, strict=True)]
