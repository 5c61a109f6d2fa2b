"""VOC's average precision without process pools; imported by transfer configs only, as it needs mmdet."""
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import starmap
from typing import Any

from mmdet.evaluation.functional import mean_ap
from mmdet.evaluation.metrics import VOCMetric

from mmsscl.registry import METRICS


@METRICS.register_module()
class SerialVOCMetric(VOCMetric):
    """mmdet's ``VOCMetric``, counted in the run's own process.

    mmdet forks four workers for every threshold out of a process that holds a GPU and threads, and leaves their end to the
    garbage collector; small runs have hung there until a signal came. Results and arguments are the same.

    Example:
        >>> val_evaluator = dict(type="mmsscl.SerialVOCMetric", iou_thrs=[0.5, 0.75], eval_mode="11points")
    """

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Average precision of all images.

        Args:
            results: A pair an image: annotations, and detections (n, 5) of every class.

        Returns:
            ``mAP`` (the mean over the thresholds), ``AP50`` and so on, 0 to 1.
        """
        with _no_processes():
            metrics: dict[str, float] = super().compute_metrics(results)
        return metrics


class _SamePool:
    """What ``mean_ap`` uses of a pool."""

    def __init__(self, processes: int) -> None:
        del processes

    def starmap(self, function: Callable[..., Any], arguments: Iterable[Any]) -> list[Any]:
        return list(starmap(function, arguments))

    def close(self) -> None:
        """There is nothing to end."""


@contextmanager
def _no_processes() -> Iterator[None]:
    former, mean_ap.Pool = mean_ap.Pool, _SamePool
    try:
        yield
    finally:
        mean_ap.Pool = former
