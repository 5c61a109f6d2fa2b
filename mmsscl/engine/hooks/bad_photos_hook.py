"""Go on without the photos that cannot be read, and tell which they are."""
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmsscl.atomic_file import atomic_file
from mmsscl.datasets.check_photos import why_unreadable
from mmsscl.datasets.scene_images import SceneImages
from mmsscl.errors import InputError
from mmsscl.registry import HOOKS

_MOST_NAMED = 10


@HOOKS.register_module()
class BadPhotosHook(Hook):
    """Let other photos take the place of those that cannot be read; count them, list them, stop where they are many.

    A single torn file must not end a run of days. ``SceneImages`` then draws another photo, the same in every run with
    this seed. Each bad photo is named in the log once, with the reason; all are in ``bad_photos.txt`` in the work
    directory (path, tab, reason), and counted at the end. Data sets other than ``SceneImages`` are left alone.

    Args:
        max_ratio: Share of the data set's photos that may be bad, in [0, 1]; with more the run stops. 0: with the first.
        interval: Iterations between looks at what the other processes have met.

    Raises:
        InputError: A value outside its range; in training: a batch without ``bad_index``; too many bad photos, on all ranks.

    Example:
        >>> default_hooks = dict(bad_photos=dict(type="BadPhotosHook", max_ratio=0.01))
    """

    priority = "NORMAL"
    CHECKPOINT_KEY = "bad_photos"
    FILE_NAME = "bad_photos.txt"

    def __init__(self, max_ratio: float = 0.01, interval: int = 100) -> None:
        if isinstance(max_ratio, bool) or not isinstance(max_ratio, int | float) or not 0 <= max_ratio <= 1:
            raise InputError(f"BadPhotosHook: max_ratio={max_ratio!r} is a share of the photos; give a value from 0 to 1.")
        if not isinstance(interval, int) or isinstance(interval, bool) or interval < 1:
            raise InputError(f"BadPhotosHook: interval={interval!r} must be a whole number from 1.")
        self.max_ratio, self.interval = float(max_ratio), interval
        self.reasons: dict[int, str] = {}
        self._met: set[int] = set()
        self._dataset: SceneImages | None = None

    def before_train(self, runner: Runner) -> None:
        """Switch substitution on, before workers start."""
        dataset = runner.train_dataloader.dataset
        self._dataset = dataset if isinstance(dataset, SceneImages) else None
        if self._dataset is None:
            return
        self._dataset.substitutes_bad = True
        if runner.iter == 0:
            self.reasons = {}
        self._met = set()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Collect the batch's bad photos; look at all processes' at times."""
        if self._dataset is None:
            return
        pairs = data_batch.get("pairs") if isinstance(data_batch, dict) else None
        if not isinstance(pairs, dict) or "bad_index" not in pairs:
            raise InputError(
                "BadPhotosHook: the batch does not tell which photos were replaced (no pairs['bad_index']). End the "
                "pipeline with PackPair, or switch the hook off (default_hooks.bad_photos=None): then the first bad photo "
                "stops the run."
            )
        # still on the host: the model moves a copy
        bad = pairs["bad_index"]
        self._met.update(bad[bad >= 0].tolist())
        if self.every_n_train_iters(runner, self.interval) or self.end_of_epoch(runner.train_dataloader, batch_idx):
            self._share(runner)

    def after_train(self, runner: Runner) -> None:
        """Say how many there were."""
        if self._dataset is None:
            return
        self._share(runner)
        if self.reasons:
            runner.logger.warning(f"{self._summary()} They are listed in {Path(runner.work_dir) / self.FILE_NAME}.")

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Keep those met so far."""
        checkpoint[self.CHECKPOINT_KEY] = dict(self.reasons)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Take them up."""
        self.reasons = dict(checkpoint.get(self.CHECKPOINT_KEY) or {})

    def _share(self, runner: Runner) -> None:
        assert self._dataset is not None
        met = set().union(*all_gather_object(sorted(self._met)))
        self._met = set()
        new = sorted(met - set(self.reasons))
        if not new:
            return
        for index in new:
            path = self._dataset.path(index)
            self.reasons[index] = why_unreadable(path) or "could be read when it was looked at again"
        for index in new[:_MOST_NAMED]:
            runner.logger.warning(f"another photo takes the place of {self._dataset.path(index)}: {self.reasons[index]}")
        if len(new) > _MOST_NAMED:
            runner.logger.warning(f"... and of {len(new) - _MOST_NAMED} more")
        if is_main_process():
            with atomic_file(Path(runner.work_dir) / self.FILE_NAME) as file:
                for index, reason in sorted(self.reasons.items()):
                    file.write(f"{self._dataset.path(index)}\t{reason}\n".encode(errors="surrogateescape"))
        if len(self.reasons) > self.max_ratio * len(self._dataset):
            raise InputError(
                f"{self._summary()} That is more than BadPhotosHook's max_ratio={self.max_ratio:g} allows. They are listed "
                f"in {Path(runner.work_dir) / self.FILE_NAME}: mend or remove them (mmsscl doctor data checks a whole data "
                "set), or raise max_ratio."
            )

    def _summary(self) -> str:
        assert self._dataset is not None
        return f"{len(self.reasons)} of {len(self._dataset)} photos could not be read, and others took their place."
