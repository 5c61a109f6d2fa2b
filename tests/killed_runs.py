"""Training in processes of their own that a test may kill at any moment."""
import faulthandler
import multiprocessing
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Processes are forked from a server that has imported everything, so that one begins to train within a second.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.killed_runs_preload"])


def run_training(rank: int, world: int, port: int, log: str, arguments: dict[str, Any], environment: dict[str, str]) -> None:
    """What a process does; its output and traceback go to ``log``."""
    # a group of its own, as a shell or Slurm gives to what it starts
    os.setpgid(0, 0)
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    # a run that hangs says where
    faulthandler.dump_traceback_later(100, exit=True)
    import torch

    from mmsscl.engine.train import train

    torch.set_num_threads(1)
    if world > 1:
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world),
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
        )  # fmt: skip
    try:
        train(**arguments, launcher="pytorch" if world > 1 else "none")
    except Exception:  # noqa: BLE001  (whatever it is, the test shall read it)
        traceback.print_exc()
        os._exit(1)


class KillableRun:
    """A run of a config, resumed from its newest checkpoint whenever it is started again.

    Args:
        config: Its path.
        work_dir: The run's folder.
        world: Number of processes.
        environment: More of their variables.
    """

    def __init__(self, config: Path, work_dir: Path, world: int = 1, environment: dict[str, str] | None = None) -> None:
        self.world, self.environment = world, environment or {}
        self.arguments = {"config": str(config), "work_dir": str(work_dir), "resume": "auto"}
        self.work_dir = work_dir
        self.log = work_dir.with_suffix(".log")

    def start(self) -> list[Any]:
        """Start the processes."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        processes = []
        for rank in range(self.world):
            arguments = (rank, self.world, port, str(self.log), self.arguments, self.environment)
            processes.append(_CONTEXT.Process(target=run_training, args=arguments))
            processes[-1].start()
        return processes

    def wait(self, processes: list[Any], seconds: float = 240) -> list[int]:
        """Exit codes; what does not end in time is killed."""
        end = time.monotonic() + seconds
        for process in processes:
            process.join(max(0.0, end - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        return [process.exitcode for process in processes]

    def finish(self) -> None:
        """Run to the end.

        Raises:
            AssertionError: It failed; with its output.
        """
        codes = self.wait(self.start())
        assert codes == [0] * self.world, f"exit codes {codes}\n{self.output()[-6000:]}"

    def output(self) -> str:
        """What all its processes have said so far."""
        return self.log.read_text() if self.log.exists() else ""

    def signal_when(
        self, due: Callable[[], bool], number: int = signal.SIGKILL, rank: int | None = None, group: bool = False
    ) -> list[int] | None:
        """Start, wait until ``due`` holds, and send a signal.

        Args:
            due: Asked every millisecond.
            number: The signal.
            rank: Of the process that gets it; ``None``: all.
            group: Whether their worker processes get it too.

        Returns:
            The exit codes; ``None`` where the run ended before.
        """
        processes = self.start()
        while all(process.is_alive() for process in processes) and not due():
            time.sleep(0.001)
        running = [process for process in processes if process.is_alive()]
        for process in running if rank is None else [processes[rank]]:
            (os.killpg if group else os.kill)(process.pid, number)
        codes = self.wait(processes)
        return codes if running else None

    def kill_after(self, seconds: float) -> bool:
        """Send SIGKILL after a time; whether the run was still going on."""
        end = time.monotonic() + seconds
        return self.signal_when(lambda: time.monotonic() > end) is not None
