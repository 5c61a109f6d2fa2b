"""Tell the matching vector from others."""
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from mmsscl.errors import InputError
from mmsscl.registry import MODELS


@MODELS.register_module()
class InfoNCELoss(nn.Module):
    """Cross-entropy of picking a query's key among negatives (van den Oord et al., 2018; MoCo, He et al., CVPR 2020).

    ``-log(exp(q k / t) / (exp(q k / t) + sum_n exp(q n / t)))`` over unit vectors, computed in float32 whatever
    autocast says. Each pair's term lies in [0, inf).

    Args:
        temperature: t; MoCo v2: 0.2.

    Raises:
        InputError: A temperature that is not above 0.
    """

    def __init__(self, temperature: float = 0.2) -> None:
        super().__init__()
        if not temperature > 0:
            raise InputError(f"InfoNCELoss: temperature={temperature!r} must be above 0 (MoCo v2: 0.2).")
        self.temperature = temperature

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        negatives: Tensor,
        valid: Tensor,
        normaliser: Tensor,
        weights: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Sum over the valid pairs, divided by ``normaliser``.

        Args:
            query: (N, K, D), gets the gradient.
            key: (N, K, D) or (N, 1, D), no gradient passes.
            negatives: (M, D) unit vectors, no gradient passes.
            valid: (N, K) bool; other pairs count nothing and get zero gradient.
            normaliser: Positive scalar tensor: the mean over valid pairs when it is their number.
            weights: (N, K) factor of each pair's term, no gradient passes; default: 1.

        Returns:
            The loss, a float32 scalar, 0 when no pair is valid; and whether each key is closer to its query than all
            negatives, (N, K) bool.
        """
        with torch.autocast(device_type=query.device.type, enabled=False):
            unit_query = functional.normalize(query.float(), dim=-1)
            unit_key = functional.normalize(key.detach().float(), dim=-1)
            positive = (unit_query * unit_key).sum(-1, keepdim=True) / self.temperature
            negative = unit_query @ negatives.detach().float().t() / self.temperature
            term = torch.logsumexp(torch.cat([positive, negative], dim=-1), dim=-1) - positive.squeeze(-1)
            if weights is not None:
                term = term * weights.detach().float()
            loss = term.masked_fill(~valid, 0.0).sum() / normaliser
            return loss, positive.detach().squeeze(-1) > negative.detach().amax(-1)
