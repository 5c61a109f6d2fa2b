"""Accuracy of the linear classifiers after each stage."""
from typing import Any

import torch
from mmengine.evaluator import BaseMetric

from mmsscl.registry import METRICS


@METRICS.register_module()
class StageAccuracy(BaseMetric):
    """Top-1 accuracy, in percent, of each stage that ``StageLinearHeads`` classifies by, and of the best.

    ``accuracy/top1`` is the highest of ``accuracy/stage1_top1`` to ``accuracy/stage4_top1``, as such probes are reported:
    chosen on the photos it is measured on.
    """

    default_prefix = "accuracy"

    def process(self, data_batch: Any, data_samples: list[dict]) -> None:
        """Keep which stages were right."""
        for sample in data_samples:
            right = sample["stage_scores"].argmax(1) == sample["gt_label"]
            self.results.append(right.cpu())

    def compute_metrics(self, results: list[torch.Tensor]) -> dict[str, float]:
        """Percentages."""
        shares = (100 * torch.stack(results).double().mean(0)).tolist()
        return {f"stage{number}_top1": share for number, share in enumerate(shares, 1)} | {"top1": max(shares)}
