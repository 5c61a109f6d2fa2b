"""Loss weights of crops and boxes from their saliency scores: detached, float32, on the scores' device.

Built from the abstract of SGCL (arXiv 2302.11461: the loss is reweighed among different crops by saliency scores); the
formula and its constants are ours.
"""
import torch
from torch import Tensor

from mmsscl.errors import InputError

# Scores lie in [0, 1]; a mean below this is no score at all, and dividing by it would only scale rounding noise.
_LEAST_MEAN = 1e-12


def pair_scores(a: Tensor, b: Tensor) -> Tensor:
    """Score of a pair of crops: the geometric mean, so that a pair with one crop off the object counts little.

    Args:
        a: Scores in [0, 1], any shape.
        b: The same of the partners, same or broadcastable shape.

    Returns:
        float32 in [0, 1], detached.
    """
    return (a.detach().float() * b.detach().float()).sqrt()


def crop_weights(
    scores: Tensor, valid: Tensor, guidance: Tensor, clip: tuple[float, float] = (0.25, 4.0)
) -> Tensor:
    """Weights of an image's crops (or boxes, or pairs): their scores relative to each other, mean one.

    A score is divided by the mean of the image's valid scores, mixed with one by the guidance,
    ``(1 - g) + g * w``, clipped, and divided by the mean over the image's valid crops again. That last step may
    carry a weight a little past the clip. The sum of an image's loss thus keeps its scale: with a single valid crop
    the weight is 1, whatever the score.

    Args:
        scores: (B, M) in [0, 1].
        valid: (B, M) bool; others take no part and get weight 1 (the loss masks them).
        guidance: (B,) in [0, 1]: how far the image's saliency is followed.
        clip: Smallest and largest weight before the last division.

    Returns:
        (B, M) float32, positive, detached. Exactly 1.0 in an image whose guidance is 0, whose valid scores are all 0,
        or which has no valid crop.

    Raises:
        InputError: Shapes that do not fit, or a clip that does not enclose 1.

    Example:
        >>> crop_weights(torch.tensor([[.9, .3]]), torch.ones(1, 2, dtype=torch.bool), torch.ones(1))
        tensor([[1.5000, 0.5000]])
    """
    if scores.dim() != 2 or valid.shape != scores.shape or guidance.shape != scores.shape[:1]:
        raise InputError(
            f"crop_weights: scores {tuple(scores.shape)}, valid {tuple(valid.shape)}, guidance {tuple(guidance.shape)} "
            "do not fit. Pass (B, M), (B, M) and (B,)."
        )
    low, high = clip
    if not 0.0 < low <= 1.0 <= high:
        raise InputError(f"crop_weights: clip={clip!r} must be (low, high) with 0 < low <= 1 <= high, e.g. (0.25, 4.0).")
    scores, strength = scores.detach().float(), guidance.detach().float().unsqueeze(1)
    mean = _mean_of_valid(scores, valid)
    usable = mean > _LEAST_MEAN
    relative = scores / torch.where(usable, mean, 1.0)
    weights = ((1.0 - strength) + strength * relative).clamp(low, high)
    # At least `low` above zero, except where nothing is valid, and that row is replaced.
    weights = weights / _mean_of_valid(weights, valid).clamp_min(low)
    return torch.where(valid & usable & (strength > 0), weights, 1.0)


def effective_sample_size(weights: Tensor, valid: Tensor) -> Tensor:
    """Share of an image's crops that its weights leave in effect: Kish's ``(sum w)^2 / (n sum w^2)``.

    Args:
        weights: (B, M), not negative.
        valid: (B, M) bool: the crops that count.

    Returns:
        Scalar float32 in (0, 1], the mean over the images that have a valid crop: 1 where all weights of an image are
        equal, 1/n where one of its n crops takes all. 1 where no image has a valid crop. Detached.
    """
    used = weights.detach().float().masked_fill(~valid, 0.0)
    count = valid.sum(1)
    total, squares = used.sum(1), used.square().sum(1)
    # All weights of an image zero: equal, so nothing is lost.
    share = torch.where(squares > 0, total.square() / (count * squares).where(squares > 0, 1.0), 1.0)
    images = count > 0
    number = images.sum()
    mean = share.masked_fill(~images, 0.0).sum() / number.clamp_min(1)
    return torch.where(number > 0, mean, 1.0)


def _mean_of_valid(values: Tensor, valid: Tensor) -> Tensor:
    """(B, 1): the mean of each row's valid values; 0 where none is."""
    return values.masked_fill(~valid, 0.0).sum(1, keepdim=True) / valid.sum(1, keepdim=True).clamp_min(1)
