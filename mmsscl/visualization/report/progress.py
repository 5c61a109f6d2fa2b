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
    if by_epoch and run.epoch_length and iterations:
        logged = max(logged, iterations // run.epoch_length)
    log, begun = run.newest.log, run.newest.begun or 0
    if log.saved is not None and log.saved[1] == unit:
        saved = log.saved[0]
    else:
        # what an earlier process saved counts as far as this one took it up
        saved = begun // run.epoch_length if by_epoch and run.epoch_length else 0 if by_epoch else begun
    done = max(logged, saved)
    ended = planned is not None and done >= planned
    if ended:
        told = "ended"
    elif log.stopped:
        told = "stopped by a signal, saved; goes on with --resume"
    elif log.last is not None:
        told = f"not ended; last heard of {log.last:%Y-%m-%d %H:%M}"
    else:
        told = "not ended"
    return Progress(done, planned, unit, ended, told)
