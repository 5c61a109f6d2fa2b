"""The order in which images are visited, as pairs (epoch, index)."""

from collections.abc import Iterator, Sized

import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mmsscl.errors import InputError
from mmsscl.registry import DATA_SAMPLERS

# Seed and epoch are folded into one generator seed; a large odd factor keeps (seed, epoch) and (seed + 1, epoch - 1)
# from giving one order.
_EPOCH_FACTOR = 0x9E3779B97F4A7C15
_CHUNK = 1 << 16


@DATA_SAMPLERS.register_module()
class EpochIndexSampler(Sampler):
    """Visits every image once an epoch and tells the data set which epoch it is.

    A persistent worker never hears of an epoch set in the main process, so the epoch travels with the index and the
    data set derives each sample's randomness from both. The order is a function of (seed, epoch) alone. Rank r of n
    takes every n-th entry from the r-th on: one batch over all ranks holds the same images for any number of
    ranks, if the batch of a rank shrinks in proportion.

    Works in mmengine's ``EpochBasedTrainLoop`` and ``IterBasedTrainLoop``.

    Args:
        dataset: Only its length is used.
        shuffle: Whether to visit in random order.
        seed: Of the order, the same on all ranks. ``None``: drawn at random and agreed on by all ranks.
        round_up: All ranks must have equally many images. ``False`` leaves out the last ``len(dataset) % ranks``
            entries of the epoch's order (other ones each epoch); ``True`` visits as many again as are needed.
        batch_size: Images of one batch on one rank, optional. If given, the epoch is cut here to whole batches, a data
            set smaller than one batch is refused at once, and an iteration-based run resumes without loading
            what it has seen (``skip``). Set it to the data loader's own, together with ``drop_last=True``.
        rank: This process's number; ``None`` asks mmengine.
        world_size: Number of processes; ``None`` asks mmengine.

    Raises:
        InputError: The data set is smaller than one batch over all ranks (or, without ``batch_size``, than one
            image a rank).

    Example:
        >>> sampler = EpochIndexSampler(range(5), seed=0, rank=0, world_size=2)
        >>> sampler.set_epoch(3)
        >>> [epoch for epoch, index in sampler]
        [3, 3]
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        round_up: bool = False,
        batch_size: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        own_rank, own_world_size = get_dist_info()
        self.rank = own_rank if rank is None else rank
        self.world_size = own_world_size if world_size is None else world_size
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.round_up = round_up
        self.epoch = 0
        self._skipped_epochs = 0
        self._skipped_samples = 0

        size = len(dataset)
        self.num_samples = -(-size // self.world_size) if round_up else size // self.world_size
        if batch_size is not None:
            if batch_size < 1:
                raise InputError(f"EpochIndexSampler: batch_size is {batch_size}; set the data loader's.")
            self.num_samples -= self.num_samples % batch_size
            # mmengine fast-forwards by num_iters * batch_size; only an epoch of whole batches makes that exact, so
            # the method exists only then (mmengine otherwise steps through the data loader).
            self.skip = self._skip
        if self.num_samples == 0:
            raise InputError(too_few_images(size, batch_size or 1, self.world_size))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        size = len(self.dataset)
        if self.shuffle:
            generator = torch.Generator()
            generator.manual_seed((self.seed + _EPOCH_FACTOR * self.epoch) % 2**63)
            order = torch.randperm(size, generator=generator)
        else:
            order = torch.arange(size)
        start, self._skipped_samples = self._skipped_samples, 0
        positions = self.rank + self.world_size * torch.arange(start, self.num_samples)
        own, epoch = order[positions % size], self.epoch
        del order, positions
        # as Python's numbers they take five times the memory
        for some in own.split(_CHUNK):
            for index in some.tolist():
                yield epoch, index

    def __len__(self) -> int:
        """Number of images this rank visits in an epoch."""
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next iteration (mmengine calls it before each epoch)."""
        self.epoch = epoch + self._skipped_epochs

    def _skip(self, num_samples: int) -> None:
        """Goes to where a run stands after ``num_samples`` images on this rank, counted from the start of training.

        mmengine's iteration-based loop counts its own epochs from the resumed point on, hence the offset kept here.
        """
        if num_samples < 0:
            raise ValueError(f"num_samples must not be negative, but is {num_samples}")
        self._skipped_epochs, self._skipped_samples = divmod(num_samples, self.num_samples)
        self.epoch = self._skipped_epochs


def too_few_images(images: int, batch_size: int, world_size: int) -> str:
    """Message for a data set that does not fill one batch.

    Args:
        images: Images in the data set.
        batch_size: Images of a batch on one rank.
        world_size: Number of ranks.
    """
    ranks = f" on each of {world_size} ranks" if world_size > 1 else ""
    return (
        f"the data set has {images} image(s), fewer than one batch of {batch_size}{ranks} "
        f"({batch_size * world_size} in all), so an epoch would train nothing. Lower train_dataloader.batch_size to "
        f"{max(images // world_size, 1)} or less{', use fewer ranks' if world_size > 1 else ''}, or add images."
    )
