"""The figures that the processes of a run logged, joined to one course."""
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

_PLACES = ("iter", "epoch", "step")
_PROBE = ("knn_top1", "linear_top1", "probe_seconds")
NO_SCORES = ("time", "data_time", "memory", "probe_seconds")
"""Figures of validations and probes that say what they cost."""


@dataclass(frozen=True)
class Row:
    """One line of ``scalars.json``.

    Attributes:
        iteration: It was logged after so many.
        epoch: Counted from 1; None: the loop counts iterations.
        kind: "train", "probe" (the online probe), or "val".
        values: Figures by name; NaN and infinities as they are.
    """

    iteration: int
    epoch: int | None
    kind: str
    values: dict[str, float]


@dataclass
class Series:
    """A figure over a run.

    Attributes:
        iterations: Ascending.
        epochs: Of the same rows.
        values: Likewise; NaN where it was not finite.
    """

    iterations: list[int] = field(default_factory=list)
    epochs: list[int | None] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    @cached_property
    def finite(self) -> list[float]:
        """The values that are numbers."""
        return [value for value in self.values if math.isfinite(value)]


def read_scalars(file: Path) -> list[Row]:
    """Read a process's ``scalars.json``; what is no line of figures (the torn last line of a killed run) is passed over.

    A validation's own ``step`` counts epochs or nothing at all, so its row is placed at the last iteration logged before.
    """
    rows: list[Row] = []
    last, epoch = 0, None
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            content = json.loads(line)
            if not isinstance(content, dict):
                continue
            values = {
                str(key): float(value) for key, value in content.items()
                if key not in _PLACES and isinstance(value, int | float) and not isinstance(value, bool)
            }  # fmt: skip
        except (ValueError, OverflowError):
            continue
        if isinstance(content.get("iter"), int):
            last = content["iter"]
            epoch = content["epoch"] if isinstance(content.get("epoch"), int) else None
            rows.append(Row(last, epoch, "train", values))
        elif any(name in values for name in _PROBE):
            step = content.get("step")
            last = max(last, step) if isinstance(step, int) else last
            rows.append(Row(last, epoch, "probe", values))
        elif values:
            rows.append(Row(last, epoch, "val", values))
    return rows


def join_rows(processes: Sequence[tuple[int | None, Sequence[Row]]]) -> tuple[list[Row], list[int]]:
    """The rows of a run that was resumed, as if nothing that was lost had been logged.

    Args:
        processes: In order of time: iterations done before (None: begun anew), and rows.

    Returns:
        The rows of the last beginning and of what was resumed from it, ascending; and how many rows of each process
        count no more, because a later process began before them.
    """
    kept: list[list[Row]] = [list(rows) for _, rows in processes]
    for (number, _), (_, (begun, _)) in pairwise(enumerate(processes)):
        for before in range(number + 1):
            kept[before] = [row for row in kept[before] if row.iteration <= (begun or 0) and begun is not None]
    dropped = [len(rows) - len(own) for (_, rows), own in zip(processes, kept, strict=True)]
    joined = sorted((row for own in kept for row in own), key=lambda row: row.iteration)
    return joined, dropped


def series_of(rows: Iterable[Row]) -> dict[str, dict[str, Series]]:
    """The figures of each kind of row by name, in the order in which they first appear."""
    found: dict[str, dict[str, Series]] = {}
    for row in rows:
        own = found.setdefault(row.kind, {})
        for name, value in row.values.items():
            series = own.setdefault(name, Series())
            series.iterations.append(row.iteration)
            series.epochs.append(row.epoch)
            series.values.append(value if math.isfinite(value) else math.nan)
    return found
