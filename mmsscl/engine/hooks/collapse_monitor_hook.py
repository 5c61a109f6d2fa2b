"""Say on the console when a pretraining goes wrong, and what to try."""
import math
from typing import Any, NamedTuple

import numpy as np
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmsscl.errors import InputError
from mmsscl.registry import HOOKS


class Symptom(NamedTuple):
    """A logged figure out of its healthy range.

    Attributes:
        figure: End of its name: ``region_projection_std`` is a ``projection_std``.
        limit: Argument of the hook that holds the limit.
        above: Whether values above the limit are unhealthy, rather than those below.
        text: What it means and what to try; ``{value}`` and ``{limit}`` are filled in.
    """

    figure: str
    limit: str
    above: bool
    text: str


SYMPTOMS = (
    Symptom(
        "projection_std", "least_std", False,
        "the target's projections are nearly all alike (spread {value:.3f}, below {limit:g}; 0 is collapse, 1 healthy). "
        "Check that the head has its predictor and norms, and that MomentumUpdateHook runs; try a lower learning rate, a "
        "longer learning-rate warm-up, a momentum closer to 1, or a larger batch.",
    ),
    Symptom(
        "positive_cosine", "most_cosine", True,
        "predictions match their targets almost perfectly (cosine {value:.3f} above {limit:g}): the views are too alike to "
        "learn from, or the network collapses (see projection_std). Try a smaller least crop area, stronger colour "
        "augmentation, or for saliency-guided crops a lower max_iou and lambda_max.",
    ),
    Symptom(
        "effective_sample_size", "least_sample_size", False,
        "few crops of an image carry its loss (effective sample size {value:.2f} of 1, below {limit:g}). Try a narrower "
        "weight_clip such as (0.5, 2), or weigh=False.",
    ),
    Symptom(
        "saliency_trust", "least_trust", False,
        "the saliency maps are nearly flat (mean trust {value:.3f} below {limit:g}), so they hardly guide anything. Look "
        "at them (mmsscl browse saliency CONFIG CHECKPOINT); try more warmup_epochs, another estimator, or a larger "
        "image_size.",
    ),
    Symptom(
        "saliency_border", "most_border", True,
        "{value:.0%} of the saliency lies in the maps' outermost cells (above {limit:.0%}): they may be inside out or show "
        "what padding does. Look at them (mmsscl browse saliency CONFIG CHECKPOINT); try another estimator or more "
        "warmup_epochs.",
    ),
    Symptom(
        "saliency_centre", "most_centre", True,
        "the saliency maps hardly differ from a Gaussian at the image's centre (correlation {value:.2f} above {limit:g}): "
        "crops follow the photographer, not the image. Look at them (mmsscl browse saliency CONFIG CHECKPOINT); try more "
        "warmup_epochs, a larger image_size, or another estimator.",
    ),
)  # fmt: skip


@HOOKS.register_module()
class CollapseMonitorHook(Hook):
    """Watch the logged figures of a pretraining and warn when they leave their healthy range.

    It reads what the message hub holds, at the iterations in which the logger prints: with ``DeferredRuntimeInfoHook``
    these values have just come to the host, so the device is never waited for. Figures of training are averaged over the
    last ``window`` logged iterations; those of saliency refreshes (``saliency_trust``, ``saliency_border``,
    ``saliency_centre``) are taken from the last refresh. Figures that a model does not log are not watched. A figure's
    warning comes again after ``repeat`` iterations at the earliest, that of a refresh with the next refresh.

    The limits are ours, from small runs on scenes: there BYOL and SCRL go from a ``projection_std`` of .8 to .9 and a
    ``positive_cosine`` of .6 to .85.

    Args:
        interval: Iterations between looks; set it to the logger's.
        begin: Iterations before the first look at figures of training: an untrained network's projections are alike.
        window: Logged iterations that are averaged, from 1.
        repeat: Iterations before the same warning comes again.
        least_std: Least ``projection_std``, in [0, 1]; see ``projection_spread``.
        most_cosine: Largest ``positive_cosine``, up to 1.
        least_sample_size: Least ``effective_sample_size`` of the weights, in [0, 1].
        least_trust: Least ``saliency_trust``, in [0, 1].
        most_border: Largest ``saliency_border``, in [0, 1]; an even map of 14 x 14 cells has .27. ``GeodesicSaliency``
            has 0 by construction.
        most_centre: Largest ``saliency_centre``, in [0, 1].
        stop: Also end the run, on all processes, when the projections of one have collapsed (``least_std``).

    Raises:
        InputError: A value outside its range; in training, with ``stop``: collapse.

    Example:
        >>> custom_hooks = [dict(type="MomentumUpdateHook"), dict(type="CollapseMonitorHook")]
    """

    # after the hooks that write the figures
    priority = "NORMAL"

    def __init__(
        self,
        interval: int = 50,
        begin: int = 500,
        window: int = 50,
        repeat: int = 2000,
        least_std: float = 0.3,
        most_cosine: float = 0.98,
        least_sample_size: float = 0.4,
        least_trust: float = 0.05,
        most_border: float = 0.5,
        most_centre: float = 0.95,
        stop: bool = False,
    ) -> None:
        counts = {"interval": (interval, 1), "begin": (begin, 0), "window": (window, 1), "repeat": (repeat, 0)}
        for name, (value, least) in counts.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"CollapseMonitorHook: {name}={value!r} must be a whole number from {least}.")
        self.limits = {
            "least_std": least_std, "most_cosine": most_cosine, "least_sample_size": least_sample_size,
            "least_trust": least_trust, "most_border": most_border, "most_centre": most_centre,
        }  # fmt: skip
        for name, limit in self.limits.items():
            if not 0 <= limit <= 1:
                raise InputError(f"CollapseMonitorHook: {name}={limit!r} must lie in [0, 1].")
        self.interval, self.begin, self.window, self.repeat = interval, begin, window, repeat
        if not isinstance(stop, bool):
            raise InputError(f"CollapseMonitorHook: stop={stop!r} must be True or False.")
        self.stop = stop
        self._warned: dict[str, int] = {}
        self._collapsed: str | None = None

    def before_train(self, runner: Runner) -> None:
        """Forget the warnings of an earlier run."""
        self._warned.clear()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Look, in the iterations in which the logger prints."""
        if self.every_n_inner_iters(batch_idx, self.interval) or self.end_of_epoch(runner.train_dataloader, batch_idx):
            self.look(runner)

    def look(self, runner: Runner) -> None:
        """Warn about each figure in the message hub that is unhealthy now; stop on collapse, if told to."""
        self._collapsed = None
        for name, history in runner.message_hub.log_scalars.items():
            if not name.startswith("train/"):
                continue
            figure, (values, _) = name.removeprefix("train/"), history.data
            if not len(values):
                continue
            if figure == "loss" and not math.isfinite(float(values[-1])):
                self._warn(
                    runner, figure, runner.iter, self.repeat,
                    f"the loss is {float(values[-1])}. Training has diverged: stop, and resume from an earlier checkpoint "
                    "with a lower learning rate, a longer warm-up, or gradient clipping (optim_wrapper.clip_grad).",
                )  # fmt: skip
            for symptom in SYMPTOMS:
                if figure.endswith(symptom.figure):
                    self._judge(runner, figure, symptom, values)
        if self.stop:
            told = [text for text in all_gather_object(self._collapsed) if text is not None]
            if told:
                raise InputError(
                    f"stopped in iteration {runner.iter + 1}: {told[0]} CollapseMonitorHook has stop=True; the checkpoints "
                    "saved so far are there."
                )

    def _judge(self, runner: Runner, figure: str, symptom: Symptom, values: np.ndarray) -> None:
        of_refresh = figure.startswith("saliency_")
        if not of_refresh and runner.iter + 1 < self.begin:
            return
        value = float(values[-1]) if of_refresh else float(np.mean(values[-self.window :]))
        limit = self.limits[symptom.limit]
        if value > limit if symptom.above else value < limit:
            # the number of a refresh, or of the iteration
            now, pause = (len(values), 1) if of_refresh else (runner.iter, self.repeat)
            text = symptom.text.format(value=value, limit=limit)
            self._warn(runner, figure, now, pause, text)
            if symptom.limit == "least_std":
                self._collapsed = f"{figure}: {text}"

    def _warn(self, runner: Runner, figure: str, now: int, pause: int, text: str) -> None:
        if figure not in self._warned or now - self._warned[figure] >= max(pause, 1):
            self._warned[figure] = now
            runner.logger.warning(f"{figure}: {text}")
