"""A check before training that an epoch holds at least one batch."""

from collections.abc import Sized
from typing import cast

from mmengine.dist import get_world_size
from torch.utils.data import DataLoader

from mmsscl.datasets.epoch_index_sampler import too_few_images
from mmsscl.errors import InputError


def check_batches(dataloader: DataLoader) -> None:
    """Refuses a data loader without a single batch: a training loop over it would end at once and call that success.

    Args:
        dataloader: The built training data loader.

    Raises:
        InputError: ``drop_last`` leaves no batch.
    """
    if len(dataloader) == 0:
        images = len(cast(Sized, dataloader.dataset))
        raise InputError(too_few_images(images, dataloader.batch_size or 1, get_world_size()))
