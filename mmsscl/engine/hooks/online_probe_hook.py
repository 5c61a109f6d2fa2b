"""Nearest-neighbour and linear accuracy of the backbone in training, on a labelled folder held out."""
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor, nn

from mmsscl.datasets.label_split import class_files, split_labels
from mmsscl.errors import InputError
from mmsscl.evaluation.knn import top_accuracy, weighted_knn
from mmsscl.evaluation.ridge import ridge_scores
from mmsscl.rank_errors import failing_together
from mmsscl.registry import HOOKS
from mmsscl.saliency.extract import evaluating
from mmsscl.saliency.refresh import uncompiled, untouched_randomness


@HOOKS.register_module()
class OnlineProbeHook(Hook):
    """Every so many epochs, say how well the features tell classes apart: ``knn_top1`` and ``linear_top1``, in percent.

    Without folders it does nothing. Photos are read once, before training (each rank its share), cut from the middle
    to one size and kept as uint8. After an epoch the online backbone looks at them in eval mode; mean features of ``train``
    are neighbours, and a ridge regression, for those of ``val``. Training goes on as if nothing had happened: modes,
    BatchNorm statistics, gradients and random states are left as they were, and there is nothing to resume.

    The figures go to the log, to the visualizer (scalars.json, TensorBoard) and to the message hub (``probe/knn_top1``),
    with ``probe_seconds``. They are for comparing epochs, not for reporting: photos are few and small. Choosing a
    checkpoint by them uses the labels.

    Args:
        train: A folder that holds a folder of labelled photos for each class.
        val: Another one, of the same classes, which accuracy is measured on.
        interval: Epochs between looks; the last epoch is always looked at.
        image_size: Side in pixels of the square cut from the middle.
        per_class: Photos of a class to take from each folder, always the same; ``None``: all.
        k: Neighbours; at most as many as there are photos.
        temperature: Of the neighbours' weights.
        batch_size: Photos at a time, on each rank.
        num_threads: Threads that read photos before training.

    Raises:
        InputError: A value outside its range; before training: a folder that is missing, has other classes or a class
            without photos; a photo that cannot be read; a model without a backbone; a loop that counts iterations.

    Example:
        >>> default_hooks = dict(online_probe=dict(type="OnlineProbeHook", train="photos/train", val="photos/val"))
    """

    # after the hooks that train, before the checkpoint is saved
    priority = "NORMAL"

    def __init__(
        self,
        train: str | None = None,
        val: str | None = None,
        interval: int = 10,
        image_size: int = 128,
        per_class: int | None = 20,
        k: int = 20,
        temperature: float = 0.07,
        batch_size: int = 64,
        num_threads: int = 4,
    ) -> None:
        if (train is None) != (val is None):
            raise InputError(
                f"OnlineProbeHook: train={train!r}, val={val!r}: give both folders (default_hooks.online_probe.train and "
                ".val), or none."
            )
        whole = {"interval": interval, "image_size": image_size, "per_class": per_class, "k": k}
        for name, value in (whole | {"batch_size": batch_size, "num_threads": num_threads}).items():
            if name == "per_class" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"OnlineProbeHook: {name}={value!r} must be a whole number from 1.")
        if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not temperature > 0:
            raise InputError(f"OnlineProbeHook: temperature={temperature!r} must be above 0.")
        self.train, self.val, self.interval, self.image_size = train, val, interval, image_size
        self.per_class, self.k, self.temperature = per_class, k, temperature
        self.batch_size, self.num_threads = batch_size, num_threads
        self.classes: list[str] = []
        self.labels = torch.zeros(0, dtype=torch.int64)
        self._bank = 0
        self._own: list[int] = []
        self._pixels = torch.zeros(0, dtype=torch.uint8)

    def before_train(self, runner: Runner) -> None:
        """Read the photos, so that what is wrong with them is said now."""
        if self.train is None or self.val is None:
            return
        # here: it imports configs' reader, which imports hooks
        from mmsscl.evaluation.features import CentreCrops, FeatureSettings

        start = time.perf_counter()
        with failing_together():
            _checked_model(runner)
            paths = self._list_photos(self.train, self.val)
            self._own = list(range(get_rank(), len(paths), get_world_size()))
            # a rank without a share looks at one photo, to know how many features there are
            crops = CentreCrops([paths[index] for index in self._own or [0]], FeatureSettings(self.image_size))
            with untouched_randomness(), ThreadPoolExecutor(self.num_threads) as pool:
                self._pixels = torch.stack(list(pool.map(crops.__getitem__, range(len(crops)))))
        runner.logger.info(
            f"online probe: {self._bank} photos of {self.train} and {len(paths) - self._bank} of {self.val}, "
            f"{len(self.classes)} classes, every {self.interval} epochs; read in {time.perf_counter() - start:.1f} s, "
            f"{self._pixels.nbytes / 1e6:.0f} MB on this process"
        )

    def _list_photos(self, train: str, val: str) -> list[str]:
        paths: list[str] = []
        labels: list[int] = []
        for folder in (train, val):
            try:
                files = class_files(folder)
            except InputError as error:
                key = "train" if folder == train else "val"
                raise InputError(f"default_hooks.online_probe.{key}: {error}") from error
            if folder == train:
                self.classes = list(files)
            elif list(files) != self.classes:
                only = {train: set(self.classes) - set(files), val: set(files) - set(self.classes)}
                told = "; ".join(f"only in {name}: {', '.join(sorted(some)[:5])}" for name, some in only.items() if some)
                raise InputError(
                    f"default_hooks.online_probe.val: {val} has other classes than {train} ({told}). Give both the same "
                    "class folders."
                )
            for label, (name, found) in enumerate(files.items()):
                shots = min(len(found), self.per_class or len(found))
                taken = split_labels({name: found}, shots=shots)[name]
                paths += [f"{folder}/{path}" for path in taken]
                labels += [label] * shots
            if folder == train:
                self._bank = len(paths)
        self.labels = torch.tensor(labels)
        return paths

    def after_train_epoch(self, runner: Runner) -> None:
        """Look, where it is time."""
        last = runner.epoch + 1 >= runner.max_epochs
        if self.train is not None and (self.every_n_epochs(runner, self.interval) or last):
            self.probe(runner)

    def probe(self, runner: Runner) -> None:
        """Measure and log; a collective."""
        start = time.perf_counter()
        model = _checked_model(runner)
        with failing_together(), untouched_randomness(), runner.optim_wrapper.optim_context(runner.model):
            own = self._features(model)
        every = torch.zeros(len(self.labels), own.shape[1])
        if self._own:
            every[self._own] = own
        # each row is written by one rank and zero on the others
        all_reduce(every)
        with failing_together():
            if get_rank() == 0:
                self._score(runner, every, next(model.parameters()).device, start)

    @torch.no_grad()
    def _features(self, model: Any) -> Tensor:
        """float32 (photos of this rank, C), on the CPU."""
        preprocessor, backbone = model.data_preprocessor, model.backbone
        device = next(backbone.parameters()).device
        found = []
        with evaluating(backbone), uncompiled(backbone):
            for pixels in self._pixels.split(self.batch_size):
                views = pixels.to(device).float().sub_(preprocessor.mean).div_(preprocessor.std)
                if getattr(model, "channels_last", False):
                    views = views.contiguous(memory_format=torch.channels_last)
                maps = backbone(views)
                last = maps[-1] if isinstance(maps, tuple | list) else maps
                found.append(last.float().flatten(2).mean(2).cpu() if last.ndim == 4 else last.float().cpu())
        return torch.cat(found)

    def _score(self, runner: Runner, features: Tensor, device: torch.device, start: float) -> None:
        if not bool(features.isfinite().all()):
            runner.logger.warning("online probe: features are not finite, so there is nothing to measure.")
            return
        bank, queries = features[: self._bank].to(device), features[self._bank :].to(device)
        labels, wanted = self.labels[: self._bank].to(device), self.labels[self._bank :].to(device)
        count = len(self.classes)
        knn = weighted_knn(bank, labels, queries, count, k=min(self.k, len(bank)), temperature=self.temperature)
        linear = ridge_scores(bank, labels, queries, count)
        figures = {"knn_top1": top_accuracy(knn, wanted), "linear_top1": top_accuracy(linear, wanted)}
        figures["probe_seconds"] = time.perf_counter() - start
        for name, value in figures.items():
            runner.message_hub.update_scalar(f"probe/{name}", value)
        # not under train/: the logger would print them again in every line that follows, and the last epoch's never
        runner.visualizer.add_scalars(figures, step=runner.iter)
        runner.logger.info(
            f"online probe after epoch {runner.epoch + 1}: knn_top1 {figures['knn_top1']:.2f}, linear_top1 "
            f"{figures['linear_top1']:.2f} % of {len(queries)} photos of {count} classes, in "
            f"{figures['probe_seconds']:.1f} s"
        )


def _checked_model(runner: Runner) -> Any:
    if not isinstance(runner.train_loop, EpochBasedTrainLoop):
        raise InputError(
            f"OnlineProbeHook: counts epochs, but train_cfg is a {type(runner.train_loop).__name__}. Set "
            "train_cfg=dict(type='ResumableEpochLoop', max_epochs=...) or leave its folders out."
        )
    model: Any = runner.model.module if is_model_wrapper(runner.model) else runner.model
    preprocessor = getattr(model, "data_preprocessor", None)
    if not isinstance(getattr(model, "backbone", None), nn.Module):
        raise InputError(f"OnlineProbeHook: the model {type(model).__name__} has no backbone. Leave its folders out.")
    if getattr(preprocessor, "mean", None) is None or getattr(preprocessor, "std", None) is None:
        raise InputError(
            "OnlineProbeHook: the model's data_preprocessor has no mean and std to normalise photos with. Set "
            "model.data_preprocessor=dict(type='PairDataPreprocessor')."
        )
    return model
