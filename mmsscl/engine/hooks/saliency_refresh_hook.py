"""Make saliency maps by the target network every so many epochs, for the crops and weights of those that follow."""
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import EpochBasedTrainLoop, Runner, find_latest_checkpoint
from torch import nn

from mmsscl.datasets.transforms.find import check_pipeline, find_transforms
from mmsscl.datasets.transforms.load_saliency import LoadSaliency
from mmsscl.datasets.transforms.loading import LoadSceneImage
from mmsscl.errors import InputError
from mmsscl.rank_errors import failing_together
from mmsscl.registry import HOOKS, MODELS
from mmsscl.saliency.estimators import DEFAULT_ESTIMATOR, SaliencyEstimator
from mmsscl.saliency.fingerprint import dataset_fingerprint
from mmsscl.saliency.history import append_history
from mmsscl.saliency.refresh import WholeImages, map_figures, refresh_maps
from mmsscl.saliency.run_store import open_run_store
from mmsscl.saliency.schedule import SaliencySchedule
from mmsscl.saliency.store import SaliencyStore


@HOOKS.register_module()
class SaliencyRefreshHook(Hook):
    """Keep a saliency map of each training image, made by the network in training.

    Before the epochs that :class:`~mmsscl.saliency.schedule.SaliencySchedule` names, the target network looks, in eval
    mode, at every image of the training data set, whole and un-augmented; the maps go to ``saliency_store.bin`` in the
    work directory, from where the data set's ``LoadSaliency`` reads them in all workers. Each rank looks at a part of
    the images; the first rank of each machine writes, of machines other than rank 0's to
    ``saliency_store.<host name>.bin``, so that they may share one work directory. Training
    itself is left untouched: modes, BatchNorm statistics and random states are those of a run without the hook.

    ``saliency_history.npz`` beside it keeps the maps of a few images at every refresh, for
    ``mmsscl browse saliency --history``.

    A new run keeps the store that a former one left in its work directory as ``saliency_store.previous.bin``, with a
    warning; one that was there under this name is lost.

    The maps travel in the checkpoint (key ``saliency_store``), and a resumed run takes them up, at any point of the
    schedule. Logged at each refresh: ``saliency_entropy``, ``saliency_trust``, ``saliency_border``, ``saliency_centre`` (see
    :func:`~mmsscl.saliency.refresh.map_figures`), ``saliency_seconds``; and after each epoch ``saliency_share``, the
    share of this run's time so far that went into refreshes.

    SGCL's abstract (arXiv 2302.11461) says only that the map comes from the model's output during learning; schedule
    and constants are ours.

    Args:
        estimator: Config of a ``SaliencyEstimator``.
        warmup_epochs: Epochs before the first refresh.
        ramp_epochs: Epochs over which saliency gains its full strength.
        interval: Epochs between refreshes.
        image_size: Side in pixels of the square that images are squashed to; 448 gives 14 x 14 cells at stride 32.
        map_size: Cells a side of the maps kept.
        batch_size: Images of a batch, on each rank; also the number of negatives of ``ContrastiveCAM``, plus one.
        num_workers: Processes a rank that read images; ``None``: as the training data loader has.
        mirror: Average with the map of the mirrored image; twice the cost.
        momentum: Share of the previous maps that stays at a refresh, in [0, 1).
        strength: How much saliency counts after the ramp, in [0, 1]; 0 is training without it, bit for bit.

    Raises:
        InputError: A value outside its range; before training: a loop that counts iterations, a model without a target, a
            data set without ``LoadSaliency``, within a wrapper or other than on rank 0; on resuming: another data set
            or a damaged store. What one rank meets is raised on all.

    Example:
        >>> custom_hooks = [dict(type="SaliencyRefreshHook", warmup_epochs=40, ramp_epochs=40, interval=40)]
    """

    # Before the timer, so that a refresh does not count as time for loading data.
    priority = "ABOVE_NORMAL"
    CHECKPOINT_KEY = "saliency_store"
    HISTORY_NAME = "saliency_history.npz"

    def __init__(
        self,
        estimator: dict[str, Any] | None = None,
        warmup_epochs: int = 20,
        ramp_epochs: int = 20,
        interval: int = 20,
        image_size: int = 448,
        map_size: int = 14,
        batch_size: int = 64,
        num_workers: int | None = None,
        mirror: bool = True,
        momentum: float = 0.5,
        strength: float = 1.0,
    ) -> None:
        SaliencySchedule(warmup_epochs, ramp_epochs, interval, max_epochs=1, strength=strength)
        for name, value, least in (
            ("image_size", image_size, 1), ("map_size", map_size, 1), ("batch_size", batch_size, 1),
            ("num_workers", 0 if num_workers is None else num_workers, 0),
        ):  # fmt: skip
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"SaliencyRefreshHook: {name}={value!r} must be a whole number from {least}.")
        if not 0 <= momentum < 1:
            raise InputError(f"SaliencyRefreshHook: momentum={momentum!r} must lie in [0, 1); 0 keeps nothing.")
        self.estimator_cfg = dict(estimator or DEFAULT_ESTIMATOR)
        self.warmup_epochs, self.ramp_epochs, self.interval = warmup_epochs, ramp_epochs, interval
        self.image_size, self.map_size, self.batch_size = image_size, map_size, batch_size
        self.num_workers, self.mirror, self.momentum, self.strength = num_workers, mirror, momentum, strength
        self.schedule: SaliencySchedule | None = None
        self.store: SaliencyStore | None = None
        self.estimator: SaliencyEstimator | None = None
        self.images: WholeImages | None = None
        self._loaded: Any = None
        self._started = 0.0
        self._spent = 0.0

    def before_train(self, runner: Runner) -> None:
        """Make or take up the store, and connect the data set to it, before workers start."""
        dataset = runner.train_dataloader.dataset
        with failing_together():
            readers = self._prepare(runner, dataset)
            fingerprint = dataset_fingerprint(dataset)
        # Checkpoints are also loaded to start a new run (load_from); only a resumed run is past its first iteration.
        resumed, state, self._loaded = runner.iter > 0, self._loaded, None
        origin = _checkpoint_name(runner)
        self.store = open_run_store(runner.work_dir, fingerprint, len(dataset), self.map_size, resumed, state, origin)
        if resumed and state is None:
            print_log(
                f"{origin}: holds no saliency maps; crops and weights are plain until the next refresh.",
                logger="current", level=logging.WARNING,
            )  # fmt: skip
        with failing_together():
            for reader in readers:
                reader.connect(str(self.store.path), self.schedule, fingerprint)
        self._started, self._spent = time.perf_counter(), 0.0

    def _prepare(self, runner: Runner, dataset: Any) -> list[LoadSaliency]:
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise InputError(
                f"SaliencyRefreshHook: the schedule counts epochs, but train_cfg is a {type(runner.train_loop).__name__}. "
                "Set train_cfg=dict(type='ResumableEpochLoop', max_epochs=...) or remove the hook."
            )
        model = _checked_model(runner)
        check_pipeline(dataset, type(self).__name__)
        readers = list(find_transforms(dataset, LoadSaliency))
        if not readers:
            raise InputError(
                "SaliencyRefreshHook: nothing in train_dataloader.dataset.pipeline reads its maps. Add "
                "dict(type='LoadSaliency') after LoadSceneImage, or remove the hook."
            )
        # mmpretrain's and mmdet's runners look names up in their own registries
        with DefaultScope.overwrite_default_scope("mmsscl"):
            estimator = MODELS.build(self.estimator_cfg)
        if not isinstance(estimator, SaliencyEstimator):
            raise InputError(
                f"SaliencyRefreshHook: estimator {self.estimator_cfg.get('type')!r} is no SaliencyEstimator. Use "
                "GeodesicSaliency, ContrastiveCAM, SpectralSaliency or ActivationSaliency."
            )
        self.estimator = estimator.to(next(model.parameters()).device).eval()
        self.images = WholeImages(dataset, self.image_size, next(find_transforms(dataset, LoadSceneImage), None))
        self.schedule = SaliencySchedule(
            self.warmup_epochs, self.ramp_epochs, self.interval, runner.max_epochs, self.strength
        )
        if not self.schedule.refreshes:
            print_log(
                f"SaliencyRefreshHook: with warmup_epochs={self.warmup_epochs} there is no refresh in a run of "
                f"{runner.max_epochs} epochs: it trains without saliency. Lower warmup_epochs to change that.",
                logger="current", level=logging.WARNING,
            )  # fmt: skip
        return readers

    def before_train_epoch(self, runner: Runner) -> None:
        """Refresh, where the schedule says so."""
        assert self.schedule is not None
        assert self.store is not None
        due = self.schedule.refreshes_at(runner.epoch)
        if not due and self.store.version == 0 and self.schedule.strength(runner.epoch) > 0:
            # Resumed past the warm-up from a checkpoint without maps: as soon as it is worth it.
            due = runner.epoch < runner.max_epochs - 1
        # A run that resumes within the epoch has this epoch's maps already.
        if due and self.store.epoch != runner.epoch:
            self._refresh(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Log the refreshes' share of the time."""
        if self.store is not None and self.store.version > 0:
            share = self._spent / max(time.perf_counter() - self._started, 1e-9)
            runner.message_hub.update_scalar("train/saliency_share", share)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put the maps into the checkpoint."""
        if self.store is not None:
            checkpoint[self.CHECKPOINT_KEY] = self.store.state()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Remember the checkpoint's maps, for :meth:`before_train`."""
        self._loaded = checkpoint.get(self.CHECKPOINT_KEY)

    def _refresh(self, runner: Runner) -> None:
        assert self.store is not None
        assert self.estimator is not None
        assert self.images is not None
        start, loader = time.perf_counter(), runner.train_dataloader
        workers = loader.num_workers if self.num_workers is None else self.num_workers
        # As precise as training is: half the cost under autocast.
        with runner.optim_wrapper.optim_context(runner.model):
            maps, trust = refresh_maps(
                _unwrapped(runner.model),
                self.estimator,
                self.images,
                self.store,
                momentum=self.momentum,
                batch_size=self.batch_size,
                mirror=self.mirror,
                num_workers=workers,
                seed=runner.epoch,
                pin_memory=loader.pin_memory,
                worker_init_fn=loader.worker_init_fn if workers else None,
                multiprocessing_context=loader.multiprocessing_context if workers else None,
            )
        with failing_together():
            if self.store.writable:
                self.store.write(range(len(maps)), maps, trust)
                self.store.commit(runner.epoch)
            if get_rank() == 0:
                self._keep_history(runner, maps, trust)
        seconds = time.perf_counter() - start
        self._spent += seconds
        figures = map_figures(maps, trust) | {"seconds": seconds}
        for name, value in figures.items():
            runner.message_hub.update_scalar(f"train/saliency_{name}", value)
        runner.logger.info(
            f"saliency refresh {self.store.version} before epoch {runner.epoch + 1}: {len(maps)} maps in {seconds:.1f} s, "
            f"entropy {figures['entropy']:.3f}, trust {figures['trust']:.3f}, border {figures['border']:.3f}, "
            f"centre {figures['centre']:.3f}"
        )
        if not trust.any():
            runner.logger.warning(
                "SaliencyRefreshHook: no saliency map is trusted, so crops and weights stay plain: all maps are flat. If "
                f"image_size={self.image_size} is less than a few times the backbone's stride, the feature maps are too "
                "small (GeodesicSaliency counts from the outermost cells; below 3 x 3 there are no others): raise it to 14 "
                "times the stride, 448 at stride 32. Otherwise the features are alike everywhere: try more warmup_epochs "
                "or another estimator."
            )

    def _keep_history(self, runner: Runner, maps: np.ndarray, trust: np.ndarray) -> None:
        assert self.store is not None
        path = Path(runner.work_dir) / self.HISTORY_NAME
        try:
            append_history(
                path, self.store.fingerprint, runner.epoch, maps, trust, anew=self.store.version == 1
            )
        except InputError as error:
            # only for looking: not worth the end of a run
            runner.logger.warning(f"the history of saliency maps is not kept; training goes on: {error}")


def _unwrapped(model: nn.Module) -> nn.Module:
    inner: Any = model.module if is_model_wrapper(model) else model
    network: nn.Module = inner
    return network


def _checked_model(runner: Runner) -> nn.Module:
    model = _unwrapped(runner.model)
    target = getattr(model, "target", None)
    if not isinstance(target, nn.ModuleDict) or not {"backbone", "neck"} <= set(target):
        raise InputError(
            f"SaliencyRefreshHook: the model {type(model).__name__} has no target network to look with. Use SGCL, SCRL or "
            "BYOL, or remove the hook."
        )
    preprocessor = getattr(model, "data_preprocessor", None)
    if getattr(preprocessor, "mean", None) is None or getattr(preprocessor, "std", None) is None:
        raise InputError(
            "SaliencyRefreshHook: the model's data_preprocessor has no mean and std to normalise images with. Set "
            "model.data_preprocessor=dict(type='PairDataPreprocessor')."
        )
    return model


def _checkpoint_name(runner: Runner) -> str:
    path = getattr(runner, "_load_from", None) or find_latest_checkpoint(runner.work_dir)
    return f"checkpoint {path}"
