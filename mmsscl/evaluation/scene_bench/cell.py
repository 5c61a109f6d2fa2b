"""One method with one seed: pretraining and all measures, step by step, going on where it was cut."""
import fcntl
import json
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.logging import print_log

from mmsscl.atomic_file import atomic_file
from mmsscl.checkout import commit_of_checkout
from mmsscl.errors import InputError
from mmsscl.evaluation.scene_bench.methods import method_of
from mmsscl.evaluation.scene_bench.settings import STAGES, BenchSettings
from mmsscl.evaluation.scene_bench.stages import Command, data_wait, stage_of
from mmsscl.version import __version__
from mmsscl.zoo.file_hash import sha256_of

FILE_NAME = "cell.json"
_TOLD_TO_STOP = (75, -signal.SIGTERM, -signal.SIGINT)


class Cell(NamedTuple):
    """A place in the table.

    Attributes:
        method: Name in ``METHODS``.
        seed: Of all draws.
    """

    method: str
    seed: int

    def folder(self, out: str | os.PathLike) -> Path:
        """Where it keeps its files."""
        return Path(out) / f"{self.method}_seed{self.seed}"


class CellStopped(Exception):
    """A step was told to stop (exit code 75, or by a signal); the same call goes on."""


def run_cell(
    cell: Cell,
    out: str | os.PathLike,
    settings: BenchSettings,
    run: Callable[[Command], int],
    stages: Sequence[str] = STAGES,
    given: str | Path | None = None,
) -> dict[str, Any]:
    """Run what is left of a cell.

    A step whose figures are in ``cell.json`` is not run again; one that was cut begins again, trainings from their newest
    checkpoint.

    Args:
        cell: Which.
        out: Folder of the bench.
        settings: The bench's.
        run: Runs a command line of ``mmsscl``, without its first word, and returns its exit status.
        stages: Steps to run; "pretrain" comes first always.
        given: Checkpoint of this very pretraining, run before; its record gets the file's name and SHA-256.

    Returns:
        The content of ``cell.json``: ``method``, ``seed``, ``settings``, and for each step its figures, commands, seconds,
        how often it was begun, versions, device and commit.

    Raises:
        InputError: The cell was run with other settings or from another pretraining, another process works on it, a step
            failed, or ``given`` is of another training.
        CellStopped: A step was told to stop.
    """
    unknown = [name for name in stages if name not in STAGES]
    if unknown:
        raise InputError(f"--stages {unknown[0]}: no such step. Known: {', '.join(STAGES)}.")
    method = method_of(cell.method)
    folder = cell.folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        fresh: dict[str, Any] = {"method": cell.method, "seed": cell.seed, "settings": settings.hash(), "stages": {}}
        record = read_cell(folder) or fresh
        if record["settings"] != settings.hash():
            raise InputError(
                f"{folder}: was run with other settings ({record['settings']}; now {settings.hash()}). Choose another "
                "--out, or delete it."
            )
        about = None if given is None else {"file": Path(given).name, "sha256": sha256_of(given)}
        for name in STAGES:
            done = record["stages"].setdefault(name, {})
            if name == "pretrain" and given is not None and "result" in done and done.get("given") != about:
                raise InputError(f"{folder}: was begun from another pretraining. Choose another --out, or delete it.")
            if (name not in stages and name != "pretrain") or "result" in done:
                continue
            done["begun"] = done.get("begun", 0) + 1
            _write(folder, record)
            start = time.monotonic()
            stage = stage_of(name, method, cell.seed, folder, settings, given)
            for command in stage.commands:
                print_log(f"{cell.method}, seed {cell.seed}: mmsscl {' '.join(command)}", logger="current")
                status = run(command)
                if status in _TOLD_TO_STOP:
                    raise CellStopped(f"{cell.method}, seed {cell.seed}: stopped in {name}. The same command goes on.")
                if status != 0:
                    raise InputError(
                        f"{cell.method}, seed {cell.seed}: {name} failed with exit status {status}: mmsscl "
                        f"{' '.join(command)}. Mend what it says, then run the same command again."
                    )
            done |= {
                "result": stage.result(), "commands": stage.commands, "seconds": round(time.monotonic() - start, 1),
                "made_with": _made_with(),
            }  # fmt: skip
            if stage.trained is not None:
                done["data_wait"] = data_wait(stage.trained)
            if name == "pretrain" and given is not None:
                done["given"] = about
            _write(folder, record)
    return record


def read_cell(folder: str | os.PathLike) -> dict[str, Any] | None:
    """The content of a cell's file; None where there is none.

    Raises:
        InputError: It is damaged.
    """
    file = Path(folder) / FILE_NAME
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not {"method", "seed", "settings", "stages"} <= content.keys():
            raise ValueError("a key is missing")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{file}: not a readable cell ({error}). Delete its folder and run it again.") from error
    return dict(content)


def _write(folder: Path, record: dict[str, Any]) -> None:
    with atomic_file(folder / FILE_NAME) as stream:
        stream.write((json.dumps(record, indent=1) + "\n").encode())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{folder}: another process works on this cell. Let it end, or take another cell.") from error
        # what a step runs keeps the lock, should this process be killed
        os.set_inheritable(file.fileno(), True)
        yield


def _made_with() -> dict[str, str]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return {
        "mmsscl": __version__, "commit": commit_of_checkout(), "torch": torch.__version__,
        "python": platform.python_version(), "device": device,
    }  # fmt: skip
