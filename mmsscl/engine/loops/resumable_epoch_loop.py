"""Epochs that can be gone on with in the middle."""
from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from mmsscl.random_states import RandomStates
from mmsscl.registry import LOOPS


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """mmengine's ``EpochBasedTrainLoop``, which also resumes within an epoch.

    ``SafeCheckpointHook`` tells it where to go on. The batches that were trained on are passed over by their indices:
    no image of them is read. The random states of the processes are put back at the moment at which they were
    taken, so that the rest of a run equals that of a run which nothing stopped, to the bit where the device computes
    deterministically.

    Arguments: see mmengine's ``EpochBasedTrainLoop``.

    Example:
        >>> train_cfg = dict(type="ResumableEpochLoop", max_epochs=800)
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict[str, Any],
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        super().__init__(runner, dataloader, max_epochs, val_begin, val_interval, dynamic_intervals)
        self._done_in_epoch = 0
        self._random_states: RandomStates | None = None

    def continue_from(self, iters_in_epoch: int, random_states: RandomStates | None = None) -> None:
        """Say where the next epoch to run begins.

        Args:
            iters_in_epoch: Iterations of that epoch which are done, 0 to those of an epoch less 1.
            random_states: This process's, put back before the first iteration; ``None``: left as they are.
        """
        self._done_in_epoch = iters_in_epoch
        self._random_states = random_states

    def run_epoch(self) -> None:
        """One epoch, or what is left of it."""
        done, self._done_in_epoch = self._done_in_epoch, 0
        states, self._random_states = self._random_states, None
        # at the start of an epoch they are those of the end of the epoch before; within one, those of its iterations
        if states is not None and not done:
            states.put_back()
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        # An iterator over the batches draws its workers' seed. From torch's own generator, the draw would depend on
        # whether the workers live on from the epoch before, which they never do after a resume.
        self.dataloader.generator = _generator(self.runner.seed, self._epoch)
        batches: Iterable[Any] = iter(remaining_batches(self.dataloader, done) if done else self.dataloader)
        if states is not None and done:
            states.put_back()
        for position, data_batch in enumerate(batches, start=done):
            self.run_iter(position, data_batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1


def _generator(seed: int | None, epoch: int) -> torch.Generator:
    words = np.random.SeedSequence([seed or 0, epoch, get_rank()]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))


def remaining_batches(loader: DataLoader, done: int) -> DataLoader:
    """A loader of an epoch's batches after the first ``done``; those are never read.

    Its sampler's epoch must be set already. Worker processes are its own and end with it. It is for one pass.
    """
    assert loader.batch_sampler is not None
    batches = iter(loader.batch_sampler)
    next(islice(batches, done, done), None)  # passes over so many
    return DataLoader(
        loader.dataset,
        batch_sampler=batches,  # an iterator is enough for one pass
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
    )
