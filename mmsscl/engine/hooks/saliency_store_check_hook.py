"""A finished saliency store, checked against the data set that reads it."""
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmsscl.datasets.transforms.find import check_pipeline, find_transforms
from mmsscl.datasets.transforms.load_saliency import LoadSaliency
from mmsscl.errors import InputError
from mmsscl.rank_errors import failing_together
from mmsscl.registry import HOOKS
from mmsscl.saliency.fingerprint import dataset_fingerprint


@HOOKS.register_module()
class SaliencyStoreCheckHook(Hook):
    """Stop before training where a pipeline reads the maps of other images.

    A store named by ``store=`` (of ``LoadSaliency``, ``SaliencyRandomResizedCrop``) is read by position. If the data set
    lists other files than the one it was made from, or lists them in another order, each photo would be cropped by the
    map of another and nothing would show it.

    Raises:
        InputError: Before training: the store is of another data set, nothing reads a store, or the data set is within a
            wrapper.

    Example:
        >>> custom_hooks = [dict(type="mmsscl.SaliencyStoreCheckHook")]
    """

    def before_train(self, runner: Runner) -> None:
        """Compare the files' names and sizes with those that the store was made from."""
        with failing_together():
            self._check(runner.train_dataloader.dataset)

    def _check(self, dataset: Any) -> None:
        check_pipeline(dataset, type(self).__name__)
        readers = [reader for reader in find_transforms(dataset, LoadSaliency) if reader.store_path is not None]
        if not readers:
            raise InputError(
                "SaliencyStoreCheckHook: nothing in train_dataloader.dataset.pipeline has a store. Set store= of "
                "mmsscl.SaliencyRandomResizedCrop or mmsscl.LoadSaliency, or remove the hook."
            )
        fingerprint = dataset_fingerprint(dataset)
        for reader in readers:
            assert reader.store_path is not None
            reader.connect(reader.store_path, None, fingerprint)
