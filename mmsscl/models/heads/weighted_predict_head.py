"""Predict the other view's vector, with a weight for each pair."""
from torch import Tensor

from mmsscl.errors import InputError
from mmsscl.registry import MODELS

from .region_predict_head import RegionPredictHead, match_figures, mean_normaliser


@MODELS.register_module()
class WeightedPredictHead(RegionPredictHead):
    """A ``RegionPredictHead`` whose pairs count by given weights: BYOL's loss in SGCL.

    Built from the abstract of SGCL (arXiv 2302.11461), which "reweighs the contrastive losses among different crops".
    A weight multiplies its pair's term; the divisor stays the number of valid pairs, so weights of mean one over the
    head's pairs leave the scale of its loss as it is, and weights of one give the bits of ``RegionPredictHead``, whose
    arguments and initial weights these are too.
    """

    def loss(
        self,
        prediction1: Tensor,
        prediction2: Tensor,
        target1: Tensor,
        target2: Tensor,
        valid: Tensor,
        weights: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compare predictions of one side with targets of the **other** side.

        Args:
            prediction1: (B, K, D), compared with ``target2``.
            prediction2: (B, K, D), compared with ``target1``.
            target1: (B, K, D), or (B, 1, D): the same for all K.
            target2: likewise.
            valid: (B, K) bool, pairs that exist.
            weights: Factors of the pairs, at least 0, no gradient passes: (B, K) for both directions or (2, B, K), row
                0 for ``prediction1`` with ``target2``. Default: all 1.

        Returns:
            As :meth:`RegionPredictHead.loss`; the figures to log are not weighted.

        Raises:
            InputError: Weights of another shape.
        """
        forward, backward = split_directions(weights, valid)
        target1, target2 = (target.expand(-1, valid.shape[1], -1) for target in (target1, target2))
        normaliser = mean_normaliser(valid)
        loss = self.loss_module(prediction1, target2, valid, normaliser, forward)
        loss = loss + self.loss_module(prediction2, target1, valid, normaliser, backward)
        return {"loss_cosine": loss, **match_figures(prediction1, prediction2, target1, target2, valid)}


def split_directions(weights: Tensor | None, valid: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Weights of both directions.

    Args:
        weights: (B, K) for both, (2, B, K) for each its own, or ``None``.
        valid: (B, K).

    Returns:
        Two (B, K), or two ``None``.

    Raises:
        InputError: Another shape.
    """
    if weights is None:
        return None, None
    if weights.shape == valid.shape:
        return weights, weights
    if weights.shape == (2, *valid.shape):
        return weights[0], weights[1]
    raise InputError(
        f"Weights of pairs have shape {tuple(weights.shape)}; with valid of {tuple(valid.shape)} give "
        f"{tuple(valid.shape)}, the same for both directions, or {(2, *valid.shape)}."
    )
