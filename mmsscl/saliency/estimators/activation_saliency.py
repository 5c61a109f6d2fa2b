"""Saliency as the strength of the activations."""
from torch import Tensor

from mmsscl.registry import MODELS
from mmsscl.saliency.estimators.base import EstimatedSaliency, Projection, SaliencyEstimator


def activation_map(features: Tensor) -> Tensor:
    """Sum over channels of what is active: (N, C, h, w) -> (N, h, w), not negative."""
    return features.clamp_min(0.0).sum(1)


@MODELS.register_module()
class ActivationSaliency(SaliencyEstimator):
    """Sum of the activations over the channels, after the last ReLU (as ContrastiveCrop's map, CVPR 2022).

    Cheap and needs no other image, but blind to what an activation means: a textured background counts as an object does.
    """

    def _estimate(self, features: Tensor, project: Projection | None, positives: Tensor | None) -> EstimatedSaliency:
        return EstimatedSaliency(activation_map(features), features.new_ones(len(features)))
