"""A run as its work dir tells it: the logs of all its processes, joined; its config; its checkpoints."""
import re
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from mmsscl.errors import InputError
from mmsscl.visualization.report.read_log import LogFacts, read_log
from mmsscl.visualization.report.read_scalars import Row, Series, join_rows, read_scalars, series_of

_STAMP = re.compile(r"\d{8}_\d{6}")
_CHECKPOINT = re.compile(r"(epoch|iter)_(\d+)\.pth")


@dataclass
class Process:
    """One start of the program.

    Attributes:
        name: Of its folder in the work dir: the time it began.
        log: What its text log says; empty where there is none.
        rows: The figures it logged.
        config: The file that it wrote its whole config to; None: none.
        lost: How many of its rows count no more, because a later process began before them.
    """

    name: str
    log: LogFacts
    rows: list[Row]
    config: Path | None
    lost: int = 0

    @property
    def trained(self) -> bool:
        """Whether it logged a figure of training."""
        return any(row.kind == "train" for row in self.rows)

    @property
    def duration(self) -> timedelta:
        """From its first to its last line."""
        first, last = self.log.first, self.log.last
        return timedelta(0) if first is None or last is None else last - first


@dataclass
class Run:
    """What is known of a run.

    Attributes:
        folder: The work dir.
        processes: In order of time; those that did not train (tests, failed starts) too.
        rows: The figures of the last beginning and of all that was resumed from it.
        resumes: Iterations at which it was resumed.
        config: The newest process's, as plain values, read without running it; empty where it cannot be read.
        config_text: The file's text.
        config_problem: Why there is no config; empty where there is one.
        checkpoints: ``epoch_*.pth`` or ``iter_*.pth``, in order of their numbers.
    """

    folder: Path
    processes: list[Process]
    rows: list[Row]
    resumes: list[int]
    config: dict[str, Any] = field(default_factory=dict)
    config_file: Path | None = None
    config_text: str = ""
    config_problem: str = ""
    checkpoints: list[Path] = field(default_factory=list)

    @property
    def trainers(self) -> list[Process]:
        """The processes that logged figures of training."""
        return [process for process in self.processes if process.trained]

    @property
    def newest(self) -> Process:
        """The last process that trained, else the last."""
        return (self.trainers or self.processes)[-1]

    def figures(self, kind: str) -> dict[str, Series]:
        """The figures of one kind of row ("train", "probe", "val") by name."""
        return series_of(self.rows, kind)

    def settings(self, *keys: str) -> dict[str, Any]:
        """A dictionary of the config, by its key and those above it; empty where there is none."""
        found: Any = self.config
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}

    @property
    def hooks(self) -> list[dict[str, Any]]:
        """The configs of its hooks, default and custom ones."""
        custom = self.config.get("custom_hooks")
        every = [*self.settings("default_hooks").values(), *(custom if isinstance(custom, list) else [])]
        return [hook for hook in every if isinstance(hook, dict)]

    @property
    def images_per_iteration(self) -> int | None:
        """Of all processes together; None: the config does not tell."""
        size = self.settings("train_dataloader").get("batch_size")
        count = self.newest.log.facts.get("GPU number", "1")
        return size * int(count) if isinstance(size, int) and size > 0 and count.isdecimal() else None


def read_run(work_dir: str | Path) -> Run:
    """Read a work dir; nothing in it is run or written.

    Args:
        work_dir: Of ``mmsscl train``, finished or not: it holds a folder for each process, named by the time it began.

    Raises:
        InputError: There is no such folder, or no logs in it.

    Example:
        >>> run = read_run("work_dirs/scrl_r50_coco")              # doctest: +SKIP
        >>> run.figures("train")["loss"].values[-1]
        0.4924
    """
    folder = Path(work_dir).expanduser()
    if not folder.is_dir():
        kind = "is a file" if folder.exists() else "no such folder"
        raise InputError(f"work_dir {folder}: {kind}. Give the folder that mmsscl train wrote its logs to (its --work-dir).")
    processes = [_read_process(sub) for sub in sorted(folder.iterdir()) if sub.is_dir() and _STAMP.match(sub.name)]
    processes = [process for process in processes if process.rows or process.log.first]
    if not processes:
        inside = sorted({str(path.parents[1].relative_to(folder)) for path in folder.glob("*/*/vis_data")} - {"."})
        hint = f" Runs inside it: {', '.join(inside[:5])}." if inside else ""
        raise InputError(
            f"work_dir {folder}: holds no logs (a folder such as 20250131_120000 with a .log or vis_data/scalars.json)."
            f"{hint} Give the folder that mmsscl train wrote its logs to (its --work-dir)."
        )
    trainers = [process for process in processes if process.trained]
    begun = [_begun(process, trainers[:number]) for number, process in enumerate(trainers)]
    rows, lost = join_rows([(start, process.rows) for start, process in zip(begun, trainers, strict=True)])
    for process, count in zip(trainers, lost, strict=True):
        process.lost = count
    first = max((number for number, start in enumerate(begun) if start is None), default=0)
    resumes = [start for start in begun[first:] if start is not None]
    run = Run(folder, processes, rows, resumes, checkpoints=_checkpoints(folder))
    _read_config(run)
    return run


def _read_process(folder: Path) -> Process:
    scalars = folder / "vis_data" / "scalars.json"
    rows = read_scalars(scalars) if scalars.is_file() else []
    # the other ranks' logs end in _rank1.log and so on
    logs = sorted(file for file in folder.glob("*.log") if not re.search(r"_rank[1-9]\d*\.log$", file.name))
    config = folder / "vis_data" / "config.py"
    return Process(folder.name, read_log(logs[0]) if logs else LogFacts(), rows, config if config.is_file() else None)


def _begun(process: Process, before: list[Process]) -> int | None:
    """Iterations done before a process; None: it began anew."""
    if process.log.first is not None or not before:
        return process.log.resumed_at
    # without a text log: it was resumed if its first row lies behind the run's first
    row = process.rows[0].iteration
    return row - 1 if row > before[0].rows[0].iteration else None


def _checkpoints(folder: Path) -> list[Path]:
    found = [(int(match[2]), file) for file in folder.glob("*.pth") if (match := _CHECKPOINT.fullmatch(file.name))]
    return [file for _, file in sorted(found)]


def _read_config(run: Run) -> None:
    from mmsscl.zoo.read_backbone import stored_config

    files = [process.config for process in [run.newest, *reversed(run.processes)] if process.config is not None]
    files += sorted(run.folder.glob("*.py"))
    if not files:
        run.config_problem = "the run left no config (vis_data/config.py)"
        return
    run.config_file = files[0]
    try:
        run.config_text = files[0].read_text(encoding="utf-8", errors="backslashreplace")
        # as a checkpoint holds it: a report must not run what lies in a folder
        run.config = stored_config({"meta": {"cfg": run.config_text}}, files[0])
    except (InputError, OSError) as error:
        run.config_problem = str(error)
