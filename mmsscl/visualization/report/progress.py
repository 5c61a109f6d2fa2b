"""How far a run came, and whether that was its end."""
from typing import NamedTuple

from mmsscl.visualization.report.read_run import Run


class Progress(NamedTuple):
    """Attributes:
        done: Epochs or iterations done, as far as saved checkpoints and logged figures tell.
        planned: How many the config asks for; None: it does not tell.
        unit: "epochs" or "iterations".
        ended: Whether it came to its end.
        told: That in words.
    """

    done: int
    planned: int | None
    unit: str
    ended: bool
    told: str


def progress_of(run: Run) -> Progress:
    """Compare what a run did with what its config asks for."""
    loop = run.settings("train_cfg")
    iterations = max((row.iteration for row in run.rows if row.kind == "train"), default=0)
    epochs = [row.epoch for row in run.rows if row.epoch is not None]
    by_epoch = bool(epochs) or "max_epochs" in loop
    unit = "epochs" if by_epoch else "iterations"
    planned = loop.get("max_epochs" if by_epoch else "max_iters")
    planned = planned if isinstance(planned, int) else None
    # an epoch that is logged has begun, one that is saved is done
    logged = max(epochs, default=1) - 1 if by_epoch else iterations
    saved = [process.log.saved[0] for process in run.trainers if process.log.saved and process.log.saved[1] == unit]
    length = run.newest.log.length
    if by_epoch and length and iterations:
        logged = max(logged, iterations // length)
    done = max([logged, *saved[-1:]])
    ended = planned is not None and done >= planned
    if ended:
        told = "ended"
    elif run.newest.log.stopped:
        told = "stopped by a signal, saved; goes on with --resume"
    elif run.newest.log.last is not None:
        told = f"not ended; last heard of {run.newest.log.last:%Y-%m-%d %H:%M}"
    else:
        told = "not ended"
    return Progress(done, planned, unit, ended, told)
