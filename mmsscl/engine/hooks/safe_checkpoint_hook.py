"""Save checkpoints that survive a crash, a full disk, and a stop in the middle of an epoch."""
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process, master_only
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop, Runner

from mmsscl.atomic_file import atomic_file, remove_unfinished
from mmsscl.engine.loops.resumable_epoch_loop import ResumableEpochLoop
from mmsscl.errors import InputError
from mmsscl.random_states import RandomStates, gather_random_states, own_random_states
from mmsscl.registry import HOOKS

POSITION_KEY = "position"
RANDOM_STATES_KEY = "random_states"


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, so that a run can be stopped anywhere and lose nothing but time.

    - A checkpoint is written beside its place, brought to disk and renamed; then ``last_checkpoint`` is made to name it;
      then the oldest beyond ``max_keep_ckpts`` is deleted. At any moment the newest whole one is there and named.
    - Where it cannot be written (a full disk), an error is logged, the former checkpoints stay, and training goes on: the
      next save tries again. At the end of training it is raised.
    - Also kept: the random states of all processes, and the place within the epoch. With ``ResumableEpochLoop`` (or an
      ``IterBasedTrainLoop`` and ``EpochIndexSampler``) a resumed run equals one that was not stopped.
    - ``step_interval`` saves within epochs as well: ``iter_N.pth``, of which the newest is kept until an epoch's
      checkpoint is there.

    Args:
        step_interval: Iterations between saves within an epoch; 0: none. Needs ``by_epoch=True`` and
            ``ResumableEpochLoop``. Under gradient accumulation a save waits for the optimizer's next step.
        **kwargs: As of mmengine's ``CheckpointHook``: ``interval``, ``max_keep_ckpts``, ``save_best``, ...

    Raises:
        InputError: ``step_interval`` out of its range, or with a loop that cannot go on within an epoch. On resuming within
            an epoch: epochs have another number of iterations now. At the end of training: its checkpoint cannot be written.

    Example:
        >>> default_hooks = dict(checkpoint=dict(type="SafeCheckpointHook", interval=10, step_interval=500))
    """

    keep_ckpt_ids: deque[int]

    def __init__(self, *args: Any, step_interval: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(step_interval, int) or isinstance(step_interval, bool) or step_interval < 0:
            raise InputError(f"SafeCheckpointHook: step_interval={step_interval!r} must be a whole number from 0 (off).")
        if step_interval and not self.by_epoch:
            raise InputError("SafeCheckpointHook: with by_epoch=False interval counts iterations; leave step_interval out.")
        self.step_interval = step_interval
        self._random_states: list[dict[str, Any]] = []
        self._iters_in_epoch = 0
        self._within_epoch: str | None = None
        self._superseded: Sequence[str] = ()
        self._loaded: dict[str, Any] = {}
        self._states_to_put_back: RandomStates | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Remember where the checkpoint's run stood, for :meth:`before_train`."""
        self._loaded = {key: checkpoint.get(key) for key in (POSITION_KEY, RANDOM_STATES_KEY)}

    def before_train(self, runner: Runner) -> None:
        """Clear up after a killed run, and tell the loop where to go on."""
        super().before_train(runner)
        if self.step_interval and not isinstance(runner.train_loop, ResumableEpochLoop):
            raise InputError(
                f"SafeCheckpointHook: step_interval={self.step_interval} saves within epochs, where a "
                f"{type(runner.train_loop).__name__} cannot go on. Set train_cfg=dict(type='mmsscl.ResumableEpochLoop', "
                "max_epochs=...), or leave step_interval out."
            )
        loaded, self._loaded = self._loaded, {}
        # a checkpoint is loaded to begin a run as well (load_from)
        if runner.iter > 0:
            self._continue(runner, loaded)
        if is_main_process() and Path(self.out_dir).is_dir():
            for name in remove_unfinished(self.out_dir):
                runner.logger.info(f"deleted {name}, which an interrupted run left half written in {self.out_dir}")

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Put the random states back, in the first iteration of a resumed run that counts iterations."""
        if self._states_to_put_back is not None:
            self._states_to_put_back.put_back()
            self._states_to_put_back = None

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Save, where it is time to."""
        if not self.by_epoch:
            super().after_train_iter(runner, batch_idx, data_batch, outputs)
        # the last iteration of the optimizer step in which the interval ends
        elif (
            self.step_interval
            and (runner.iter + 1) % self.step_interval < _accumulation(runner)
            and self.may_save(runner, batch_idx)
        ):
            path = self._within_epoch_path(runner)
            self._try(runner, False, path, lambda: self.save_within_epoch(runner, batch_idx))

    def may_save(self, runner: Runner, batch_idx: int) -> bool:
        """Whether everything that training is made of can be saved after this iteration.

        Not while gradients are being accumulated, not after an epoch's last iteration (what follows belongs to the epoch,
        and is saved by :meth:`after_train_epoch`), and not with a loop that could not go on there.
        """
        whole_step = (runner.iter + 1) % _accumulation(runner) == 0
        if isinstance(runner.train_loop, ResumableEpochLoop):
            return whole_step and batch_idx + 1 < len(runner.train_dataloader)
        return whole_step and isinstance(runner.train_loop, IterBasedTrainLoop)

    def save_within_epoch(self, runner: Runner, batch_idx: int) -> str:
        """Save after an iteration for which :meth:`may_save` holds; call it on all ranks.

        Returns:
            The checkpoint's path.

        Raises:
            OSError: It cannot be written (on the main process).
        """
        self._iters_in_epoch = 0 if isinstance(runner.train_loop, IterBasedTrainLoop) else batch_idx + 1
        path = self._within_epoch_path(runner)
        before, self._within_epoch = self._within_epoch, path
        superseded = [] if before in (None, path) else [str(before)]
        try:
            self._save(runner, path, dict(epoch=runner.epoch, iter=runner.iter + 1), superseded)
        except OSError:
            self._within_epoch = before
            raise
        return path

    def save_epoch(self, runner: Runner) -> str:
        """Save after an epoch, in ``after_train_epoch``; call it on all ranks.

        Returns:
            The checkpoint's path.

        Raises:
            OSError: It cannot be written (on the main process).
        """
        step = runner.epoch + 1
        path: str = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))
        self._save_numbered(runner, step, path, dict(epoch=step, iter=runner.iter))
        return path

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put in what an exact resume needs."""
        checkpoint[POSITION_KEY] = {
            "iters_in_epoch": self._iters_in_epoch, "iters_per_epoch": len(runner.train_dataloader),
            "within_epoch": self._within_epoch and os.path.basename(self._within_epoch),
            "superseded": [os.path.basename(path) for path in self._superseded],
        }  # fmt: skip
        checkpoint[RANDOM_STATES_KEY] = self._random_states

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        path: str = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))
        last = self.is_last_train_epoch(runner) if self.by_epoch else self.is_last_train_iter(runner)
        self._try(runner, last, path, lambda: self._save_numbered(runner, step, path, meta))

    def _save_numbered(self, runner: Runner, step: int, path: str, meta: dict[str, Any]) -> None:
        """Save one of those of which ``max_keep_ckpts`` are kept."""
        kept, surplus = list(self.keep_ckpt_ids) if self.max_keep_ckpts > 0 else [], []
        if self.max_keep_ckpts > 0:
            kept = [*(other for other in kept if other != step), step]
            surplus, kept = kept[: -self.max_keep_ckpts], kept[-self.max_keep_ckpts :]
        superseded = [self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old)) for old in surplus]
        if self._within_epoch not in (None, path):
            superseded.insert(0, str(self._within_epoch))
        within, info = self._within_epoch, runner.message_hub.runtime_info.get("keep_ckpt_ids")
        self._iters_in_epoch, self._within_epoch = 0, None
        if self.max_keep_ckpts > 0:
            runner.message_hub.update_info("keep_ckpt_ids", kept)
        try:
            self._save(runner, path, meta, superseded)
        except OSError:
            self._within_epoch = within
            if info is not None:
                runner.message_hub.update_info("keep_ckpt_ids", info)
            raise
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = deque(kept, self.max_keep_ckpts)

    def _try(self, runner: Runner, last: bool, path: str, save: Callable[[], Any]) -> None:
        """Save, or say why not. Only the process that writes can fail, and it alone keeps count of the files."""
        try:
            save()
        except OSError as error:
            text = (
                f"checkpoint {path}: cannot be written ({error.strerror or error}). Make room or check "
                "permissions; the former checkpoints are still there."
            )
            if last:
                raise InputError(text) from error
            runner.logger.error(f"{text} Training goes on and tries again at the next save.")

    def _within_epoch_path(self, runner: Runner) -> str:
        path: str = self.file_backend.join_path(self.out_dir, f"iter_{runner.iter + 1}.pth")
        return path

    def _save(self, runner: Runner, path: str, meta: dict[str, Any], superseded: Sequence[str]) -> None:
        self._random_states, self._superseded = gather_random_states(), superseded
        self.last_ckpt = path
        runner.message_hub.update_info("last_ckpt", path)
        # named by epochs or not: mmengine only fills what meta lacks
        runner.save_checkpoint(
            self.out_dir, os.path.basename(path), self.file_client_args, save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler, meta=meta, by_epoch=self.by_epoch,
            backend_args=self.backend_args, **self.args,
        )  # fmt: skip
        self._point_to(runner, path)
        self._delete(superseded)

    @master_only
    def _point_to(self, runner: Runner, path: str) -> None:
        with atomic_file(Path(runner.work_dir) / "last_checkpoint") as file:
            file.write(path.encode())

    @master_only
    def _delete(self, paths: Sequence[str]) -> None:
        for path in paths:
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
            elif self.file_backend.isdir(path):
                self.file_backend.rmtree(path)

    def _continue(self, runner: Runner, loaded: dict[str, Any]) -> None:
        position = loaded.get(POSITION_KEY) or {}
        # never in the folder of another run, whose files bear the same names
        if Path(str(runner._load_from)).resolve().parent == Path(self.out_dir).resolve():
            name = position.get("within_epoch")
            self._within_epoch = None if name is None else self.file_backend.join_path(self.out_dir, name)
            # a run killed between saving and deleting
            self._delete([self.file_backend.join_path(self.out_dir, old) for old in position.get("superseded", [])])
        done = position.get("iters_in_epoch", 0)
        now = len(runner.train_dataloader)
        loop = runner.train_loop
        if done and not isinstance(loop, ResumableEpochLoop):
            raise InputError(
                f"the checkpoint was saved after {done} iterations of an epoch, where a {type(loop).__name__} cannot go on. "
                "Set train_cfg=dict(type='mmsscl.ResumableEpochLoop', max_epochs=...), as in the run that saved it."
            )
        if done and position["iters_per_epoch"] != now:
            raise InputError(
                f"the checkpoint was saved after {done} of {position['iters_per_epoch']} iterations of an epoch; an epoch "
                f"has {now} now. Resume with as many processes, images a batch and photos as before, or from the checkpoint "
                "of a whole epoch (--resume work_dirs/NAME/epoch_N.pth)."
            )
        states = own_random_states(loaded.get(RANDOM_STATES_KEY))
        if states is None:
            print_log(
                "the checkpoint has no random states for this number of processes: what follows does not equal, bit for "
                "bit, a run that was not stopped.", logger="current", level=logging.WARNING,
            )  # fmt: skip
        if isinstance(loop, ResumableEpochLoop):
            loop.continue_from(done, states)
        elif isinstance(loop, IterBasedTrainLoop):
            # after the data loader's iterator has been made, which draws a number
            self._states_to_put_back = states
        elif states is not None:
            states.put_back()


def _accumulation(runner: Runner) -> int:
    """Iterations of an optimizer step."""
    return int(getattr(runner.optim_wrapper, "_accumulative_counts", 1))
