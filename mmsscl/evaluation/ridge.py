"""A linear classifier in closed form."""
import torch
from torch import Tensor
from torch.nn import functional

from mmsscl.errors import InputError


def ridge_scores(bank: Tensor, labels: Tensor, queries: Tensor, num_classes: int, strength: float = 0.01) -> Tensor:
    """Scores of a ridge regression on the classes, one against the others.

    Nothing is drawn and nothing iterates, so it suits a figure that is watched. Features are centred; the penalty is told
    in shares of their mean variance, so their scale does not matter.

    Args:
        bank: (M, C), the labelled features.
        labels: int64 (M,), 0 to ``num_classes - 1``.
        queries: (N, C).
        num_classes: Number of classes.
        strength: The penalty on squared weights over the features' mean variance, above 0.

    Returns:
        float32 (N, num_classes); the highest is the answer.

    Raises:
        InputError: ``strength`` is not above 0.
    """
    if not strength > 0:
        raise InputError(f"strength={strength!r}: give a value above 0.")
    bank, queries = bank.float(), queries.float()
    mean = bank.mean(0)
    centred = bank - mean
    wanted = functional.one_hot(labels, num_classes).to(centred)
    shares = wanted.mean(0)
    covariance = centred.T @ centred / len(centred)
    variance = covariance.diagonal().mean().clamp(min=torch.finfo(covariance.dtype).tiny)
    covariance.diagonal().add_(strength * variance)
    weights = torch.linalg.solve(covariance / variance, centred.T @ (wanted - shares) / len(centred) / variance)
    return (queries - mean) @ weights + shares
