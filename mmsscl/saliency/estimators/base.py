"""What all saliency estimators share."""
from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmsscl.errors import InputError

Projection = Callable[[Tensor], Tensor]


class EstimatedSaliency(NamedTuple):
    """Raw maps and the estimator's own doubts.

    Attributes:
        maps: (N, h, w) float32, not negative, more = more salient; the scale differs between images.
        trust: (N,) float32 in [0, 1], to be multiplied with the map's entropy trust: 1 where the estimator knows no
            reason for doubt.
    """

    maps: Tensor
    trust: Tensor


class SaliencyEstimator(nn.Module):
    """Saliency of images from a network's own feature maps.

    SGCL (arXiv 2302.11461) has no public code, and its abstract says only that the map comes from the model's output
    during learning: the estimators are our choice among published ones. They have no weights, work on a whole batch
    at once, in float32 whatever autocast says, and return detached tensors. The network that made the features, and
    the projector, belong in eval mode.
    """

    def forward(self, features: Tensor, project: Projection | None = None, positives: Tensor | None = None) -> Tensor:
        """Maps alone: :meth:`estimate` without its trust."""
        return self.estimate(features, project, positives).maps

    @torch.no_grad()
    def estimate(
        self, features: Tensor, project: Projection | None = None, positives: Tensor | None = None
    ) -> EstimatedSaliency:
        """Maps, and how far the estimator doubts them.

        Args:
            features: Last feature map (N, C, h, w) of whole, un-augmented images; any float type.
            project: The projector, (N, C) -> (N, D); ``None`` compares pooled features as they are. Only
                ``ContrastiveCAM`` uses it.
            positives: Features (N, C, h', w') of a second view of the same images, e.g. mirrored; only
                ``ContrastiveCAM`` uses them.

        Raises:
            InputError: Feature maps of another shape.
        """
        if features.dim() != 4 or 0 in features.shape[1:]:
            raise InputError(
                f"{type(self).__name__}: features of shape {tuple(features.shape)}. Pass the backbone's last feature map, "
                "(N, C, h, w)."
            )
        with torch.autocast(device_type=features.device.type, enabled=False):
            positives = None if positives is None else positives.detach().float()
            return self._estimate(features.detach().float(), project, positives)

    @abstractmethod
    def _estimate(self, features: Tensor, project: Projection | None, positives: Tensor | None) -> EstimatedSaliency:
        """As :meth:`estimate`, with float32 inputs and autocast off."""
