"""Training in processes of their own that a test may kill at any moment."""
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Processes are forked from a server that has imported everything, so that one begins to train within a second.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.killed_runs_preload"])


def run_training(log: str, config: str, work_dir: str, resume: str | None, options: dict[str, Any]) -> None:
    """What the process does; its output and traceback go to ``log``."""
    import torch

    from mmsscl.engine.train import train

    torch.set_num_threads(1)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    try:
        train(config, work_dir=work_dir, resume=resume, options=dict(options))
    except Exception:  # noqa: BLE001  (whatever it is, the test shall read it)
        traceback.print_exc()
        os._exit(1)


class KillableRun:
    """A run of a config, resumed from its newest checkpoint whenever it is started again."""

    def __init__(self, config: Path, work_dir: Path, **options: Any) -> None:
        self.config, self.work_dir, self.options = config, work_dir, options
        self.log = work_dir.with_suffix(".log")

    def start(self) -> Any:
        """Start a process; returns it."""
        arguments = (str(self.log), str(self.config), str(self.work_dir), "auto", self.options)
        process = _CONTEXT.Process(target=run_training, args=arguments)
        process.start()
        return process

    def finish(self) -> None:
        """Run to the end.

        Raises:
            AssertionError: It failed; with its output.
        """
        process = self.start()
        process.join(300)
        if process.is_alive():
            process.kill()
        assert process.exitcode == 0, f"exit code {process.exitcode}\n{self.log.read_text()[-6000:]}"

    def kill_when(self, due: Callable[[], bool], signal_number: int = signal.SIGKILL) -> bool:
        """Start, wait until ``due`` holds, and send a signal.

        Returns:
            Whether the process was still running then.
        """
        process = self.start()
        while process.is_alive() and not due():
            time.sleep(0.001)
        running = process.is_alive()
        if running:
            os.kill(process.pid, signal_number)
        process.join(60)
        return running

    def kill_after(self, seconds: float) -> bool:
        """As :meth:`kill_when`, after a time."""
        end = time.monotonic() + seconds
        return self.kill_when(lambda: time.monotonic() > end)
