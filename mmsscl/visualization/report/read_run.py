"""A run as its work dir tells it: the logs of all its processes, joined; its config; its checkpoints."""
import re
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from mmsscl.errors import InputError
from mmsscl.visualization.report.read_log import LogFacts, read_log
from mmsscl.visualization.report.read_scalars import Row, Series, join_rows, read_scalars, series_of

STAMP = re.compile(r"\d{8}_\d{6}")


@dataclass
class Process:
    """One start of the program.

    Attributes:
        name: Of its folder in the work dir: the time it began.
        log: What its text log says; empty where there is none.
        rows: The figures it logged.
        config: The file that it wrote its whole config to; None: none.
        begun: Iterations done before it; None: it began anew, or did not train.
        lost: How many of its rows count no more, because a later process began before them.
    """

    name: str
    log: LogFacts
    rows: list[Row]
    config: Path | None
    begun: int | None = None
    lost: int = 0

    @property
    def trained(self) -> bool:
        """Whether it logged a figure of training, or went on with one."""
        return self.log.resumed_at is not None or any(row.kind == "train" for row in self.rows)

    @property
    def duration(self) -> timedelta:
        """From its first to its last line."""
        first, last = self.log.first, self.log.last
        return timedelta(0) if first is None or last is None else last - first


class StoredConfig(NamedTuple):
    """A config as a run left it.

    Attributes:
        file: Where it stands; None: there is none.
        text: What stands there.
        values: As plain values; empty where they cannot be read.
        problem: Why they cannot; else empty.
    """

    file: Path | None
    text: str
    values: dict[str, Any]
    problem: str


@dataclass
class Run:
    """What is known of a run.

    Attributes:
        folder: The work dir.
        processes: In order of time; those that did not train (tests, failed starts) too.
        chain: The processes that trained, from the last beginning on: each but the first goes on with one before it.
        rows: Their figures, without those that were done again.
    """

    folder: Path
    processes: list[Process]
    chain: list[Process]
    rows: list[Row]

    @property
    def newest(self) -> Process:
        """The last process that trained, else the last."""
        return (self.chain or self.processes)[-1]

    @property
    def began(self) -> str:
        """The time of its beginning, as folders of processes are named; empty: the logs do not reach so far back."""
        return self.chain[0].name if self.chain and self.chain[0].begun is None else ""

    @property
    def resumes(self) -> list[int]:
        """Iterations at which it was resumed."""
        return [process.begun for process in self.chain if process.begun is not None]

    @property
    def epoch_length(self) -> int | None:
        """Iterations of an epoch, of the newest process that tells."""
        return next((process.log.length for process in reversed(self.chain) if process.log.length), None)

    @cached_property
    def config(self) -> StoredConfig:
        """The newest process's config, read without running it."""
        files = [process.config for process in [self.newest, *reversed(self.processes)] if process.config is not None]
        files += sorted(self.folder.glob("*.py"))
        return _stored(files[0]) if files else StoredConfig(None, "", {}, "the run left no config (vis_data/config.py)")

    def images_at(self, iteration: int) -> int | None:
        """Images of an iteration, of all its ranks together; None: config and log of its process do not tell."""
        return next((images for begun, images in self._images if begun < iteration), None)

    @cached_property
    def _images(self) -> list[tuple[int, int | None]]:
        """Of each process, the newest first: iterations done before it, and images of one of its own."""
        found = []
        for process in reversed(self.chain):
            config = self.config if process.config is None else _stored(process.config)
            size = _entry(config.values, "train_dataloader").get("batch_size")
            ranks = process.log.facts.get("GPU number", "")
            images = size * int(ranks) if isinstance(size, int) and size > 0 and ranks.isdecimal() else None
            found.append((process.begun or 0, images))
        return found

    def figures(self, kind: str) -> dict[str, Series]:
        """The figures of one kind of row ("train", "probe", "val") by name."""
        return self._figures.get(kind, {})

    @cached_property
    def _figures(self) -> dict[str, dict[str, Series]]:
        return series_of(self.rows)

    def settings(self, *keys: str) -> dict[str, Any]:
        """A dictionary of the config, by its key and those above it; empty where there is none."""
        return _entry(self.config.values, *keys)

    @property
    def hooks(self) -> list[dict[str, Any]]:
        """The configs of its hooks, default and custom ones."""
        custom = self.config.values.get("custom_hooks")
        every = [*self.settings("default_hooks").values(), *(custom if isinstance(custom, list) else [])]
        return [hook for hook in every if isinstance(hook, dict)]


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
    processes = [_read_process(sub) for sub in sorted(folder.iterdir()) if sub.is_dir() and STAMP.fullmatch(sub.name)]
    processes = [process for process in processes if process.rows or process.log.first]
    if not processes:
        inside = sorted({str(path.parents[1].relative_to(folder)) for path in folder.glob("*/*/vis_data")} - {"."})
        hint = f" Runs inside it: {', '.join(inside[:5])}." if inside else ""
        raise InputError(
            f"work_dir {folder}: holds no logs (a folder such as 20250131_120000 with a .log or vis_data/scalars.json)."
            f"{hint} Give the folder that mmsscl train wrote its logs to (its --work-dir)."
        )
    trainers = [process for process in processes if process.trained]
    for number, process in enumerate(trainers):
        process.begun = _begun(process, trainers[:number])
    rows, lost = join_rows([(process.begun, process.rows) for process in trainers])
    for process, count in zip(trainers, lost, strict=True):
        process.lost = count
    first = max((number for number, process in enumerate(trainers) if process.begun is None), default=0)
    return Run(folder, processes, trainers[first:], rows)


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
    row, first = process.rows[0].iteration, min((row.iteration for own in before for row in own.rows), default=0)
    return row - 1 if row > first else None


def _stored(file: Path) -> StoredConfig:
    from mmsscl.zoo.read_backbone import stored_config

    text = ""
    try:
        text = file.read_text(encoding="utf-8", errors="backslashreplace")
        # as a checkpoint holds it: a report must not run what lies in a folder
        return StoredConfig(file, text, stored_config({"meta": {"cfg": text}}, file), "")
    except (InputError, OSError) as error:
        return StoredConfig(file, text, {}, str(error))


def _entry(config: dict[str, Any], *keys: str) -> dict[str, Any]:
    found: Any = config
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}
