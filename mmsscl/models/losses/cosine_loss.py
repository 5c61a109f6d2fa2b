"""The distance of two directions."""
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from mmsscl.registry import MODELS


@MODELS.register_module()
class CosineLoss(nn.Module):
    """Squared distance of unit vectors, ``2 - 2 cos``, over matched rows (BYOL, equation 2; SCRL, equation 4).

    Computed in float32, whatever autocast says. Each pair's term lies in [0, 4].
    """

    def forward(
        self, prediction: Tensor, target: Tensor, valid: Tensor, normaliser: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Sum over the valid pairs, divided by ``normaliser``.

        Args:
            prediction: (N, K, D), gets the gradient.
            target: (N, K, D), no gradient passes.
            valid: (N, K) bool; other pairs count nothing and get zero gradient.
            normaliser: Positive scalar tensor: the mean over valid pairs when it is their number.
            weights: (N, K) factor of each pair's term, no gradient passes; default: 1, which gives the same bits as
                a tensor of ones.

        Returns:
            Scalar float32; 0 when no pair is valid.
        """
        with torch.autocast(device_type=prediction.device.type, enabled=False):
            unit_prediction = functional.normalize(prediction.float(), dim=-1)
            unit_target = functional.normalize(target.detach().float(), dim=-1)
            distance = 2.0 - 2.0 * (unit_prediction * unit_target).sum(-1)
            if weights is not None:
                distance = distance * weights.detach().float()
            return distance.masked_fill(~valid, 0.0).sum() / normaliser
