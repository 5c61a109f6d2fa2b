"""Save and leave when the machine is about to be taken away."""
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
import torch.distributed
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmsscl.engine.hooks.safe_checkpoint_hook import SafeCheckpointHook
from mmsscl.errors import InputError
from mmsscl.rank_errors import failing_together
from mmsscl.registry import HOOKS

EXIT_CODE = 75
"""Of a run that was told to stop, has saved, and wants to be started again (EX_TEMPFAIL of sysexits.h)."""
REQUEUE_VARIABLE = "MMSSCL_REQUEUE"
# Seconds a worker waits to see whether its parent has got the same signal.
_PATIENCE = 0.5


class Preempted(SystemExit):
    """Ends a run that has saved because it was told to stop; the process's exit code is ``EXIT_CODE``."""

    def __init__(self) -> None:
        super().__init__(EXIT_CODE)


@HOOKS.register_module()
class PreemptionHook(Hook):
    """On SIGTERM or SIGUSR1, save at the end of the iteration and leave with exit code 75.

    The signal sets a flag in the process that gets it. The processes agree at the end of every ``check_interval``-th
    iteration: if one has the flag, all save together (``SafeCheckpointHook``) and leave. ``--resume`` goes on from there
    as if nothing had happened. Worker processes let it pass: Slurm and ``kill -- -GROUP`` reach them too.

    - torchrun passes SIGTERM on, and kills what is still there 30 s later; it knows no SIGUSR1.
    - Slurm: ``tools/slurm_train.sh`` in a batch job, with ``sbatch --requeue --signal=USR1@120``. The main process then
      puts the job back into the queue (``scontrol requeue``), and the script resumes it.

    With a loop that cannot go on within an epoch (mmengine's ``EpochBasedTrainLoop``) it leaves at the epoch's end.
    In another thread than the main one no signal is heard; a warning says so.
    A signal during a saliency refresh or a validation counts at the end of the next training iteration: give a
    grace period longer than they take.

    Args:
        check_interval: Iterations between agreements, with several processes; one process looks at every iteration.
        signals: Names of the signals.

    Raises:
        InputError: An interval below 1 or an unknown signal; before training: no ``SafeCheckpointHook`` in the run; on
            leaving: the checkpoint cannot be written.

    Example:
        >>> custom_hooks = [dict(type="PreemptionHook")]
    """

    # after the hook that saves
    priority = "LOWEST"

    def __init__(self, check_interval: int = 10, signals: tuple[str, ...] = ("SIGTERM", "SIGUSR1")) -> None:
        if not isinstance(check_interval, int) or isinstance(check_interval, bool) or check_interval < 1:
            raise InputError(f"PreemptionHook: check_interval={check_interval!r} must be a whole number from 1.")
        unknown = [name for name in signals if name not in signal.Signals.__members__]
        if unknown:
            raise InputError(f"PreemptionHook: signals has {unknown[0]!r}, which is none. Use 'SIGTERM', 'SIGUSR1', ...")
        self.check_interval = check_interval
        self.signals = [signal.Signals[name] for name in signals]
        self._received: signal.Signals | None = None
        self._told = multiprocessing.RawValue("b", 0)
        self._leaving = False
        self._saver: SafeCheckpointHook | None = None
        self._group: Any = None
        self._former: dict[signal.Signals, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Listen to the signals."""
        self._saver = next((hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook)), None)
        if self._saver is None:
            raise InputError(
                "PreemptionHook: needs a hook that can save within an epoch. Set "
                "default_hooks.checkpoint=dict(type='mmsscl.SafeCheckpointHook', ...)."
            )
        self._received, self._leaving = None, False
        self._told.value = 0
        if get_world_size() > 1 and torch.distributed.get_backend() != "gloo":
            # on the host: asking a device for the answer would make it wait
            self._group = torch.distributed.new_group(backend="gloo")
        if threading.current_thread() is not threading.main_thread():
            runner.logger.warning("PreemptionHook: only a process's main thread hears signals; this run hears none.")
            return
        self._former = {number: signal.signal(number, self._receive) for number in self.signals}
        loader = runner.train_dataloader
        if loader.num_workers:
            former = loader.worker_init_fn
            init = former.init if isinstance(former, _ShieldedInit) else former
            loader.worker_init_fn = _ShieldedInit(init, self.signals, self._told)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Agree, and leave where all can be saved."""
        assert self._saver is not None
        self._leaving = self._leaving or self._agreed(runner.iter + 1)
        if self._leaving and self._saver.may_save(runner, batch_idx) and runner.iter + 1 < runner.max_iters:
            saver = self._saver
            self._leave(runner, lambda: saver.save_within_epoch(runner, batch_idx))

    def after_train_epoch(self, runner: Runner) -> None:
        """Leave between epochs, where the signal came in an epoch's last iterations."""
        saver = self._saver
        assert saver is not None
        if self._leaving and not self.is_last_train_epoch(runner):
            self._leave(runner, lambda: saver.save_epoch(runner))

    def after_train(self, runner: Runner) -> None:
        """Give the signals back."""
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}
        # from here on signals to the workers are meant for them
        self._told.value = 0

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = signal.Signals(number)
        self._told.value = 1

    def _agreed(self, iteration: int) -> bool:
        if get_world_size() == 1:
            return self._received is not None
        if iteration % self.check_interval:
            return False
        flag = torch.tensor([self._received is not None], dtype=torch.int32)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX, group=self._group)
        return bool(flag)

    def _leave(self, runner: Runner, save: Callable[[], str]) -> None:
        path, failure = "", None
        try:
            path = save()
        except OSError as error:
            failure = error
        with failing_together():
            if failure is not None:
                raise InputError(
                    f"told to stop, but the checkpoint cannot be written ({failure.strerror or failure}). Make room; what "
                    "was saved before is whole, and --resume goes on from it."
                ) from failure
        name = "another process's signal" if self._received is None else self._received.name
        runner.logger.warning(
            f"{name}: saved {path} and leaving with exit code {EXIT_CODE}. Go on with --resume."
        )
        if is_main_process():
            _requeue(runner)
        self.after_train(runner)
        raise Preempted


class _ShieldedInit:
    """A worker's start-up function, after which signals are let pass that its parent has got as well.

    Any other one ends the worker, as it does without this: a parent ends workers that hang by SIGTERM.

    Args:
        init: The data loader's own, or ``None``.
        signals: Which.
        told: Shared with the parent, which sets it to 1 when it gets a signal.
    """

    def __init__(self, init: Callable[[int], None] | None, signals: list[signal.Signals], told: Any) -> None:
        self.init, self.signals, self.told = init, signals, told

    def __call__(self, worker_id: int) -> None:
        for number in self.signals:
            signal.signal(number, self._judge)
        if self.init is not None:
            self.init(worker_id)

    def _judge(self, number: int, frame: FrameType | None) -> None:
        # one signal to a group reaches its processes in any order
        end = time.monotonic() + _PATIENCE
        while not self.told.value:
            if time.monotonic() > end:
                # torch's workers end well, not by the signal, when their parent sends them SIGTERM
                os._exit(0)
            time.sleep(0.01)


def _end_on_sigterm() -> None:
    """Give a process forked off by a library the default back.

    mmdet's VOC evaluation ends its pools by SIGTERM and waits for them; one that let it pass would be waited for for ever.
    A data loader's workers are not concerned: torch, and ``_ShieldedInit``, set handlers of their own.
    """
    if isinstance(getattr(signal.getsignal(signal.SIGTERM), "__self__", None), PreemptionHook):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


os.register_at_fork(after_in_child=_end_on_sigterm)


def _requeue(runner: Runner) -> None:
    """Put the Slurm job that this is back into its queue, if it asks for it."""
    job = os.environ.get("SLURM_JOB_ID")
    if not os.environ.get(REQUEUE_VARIABLE) or not job:
        return
    if "SLURM_ARRAY_JOB_ID" in os.environ and "SLURM_ARRAY_TASK_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        runner.logger.error(f"scontrol requeue {job}: {error}. Submit the job again: it resumes.")
        return
    if done.returncode:
        said = done.stderr.strip() or f"exit code {done.returncode}"
        runner.logger.error(f"scontrol requeue {job}: {said}. Submit the job again: it resumes.")
    else:
        runner.logger.warning(f"job {job} is back in the queue")
