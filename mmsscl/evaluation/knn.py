"""Classification by the nearest neighbours among labelled features."""
import torch
from torch import Tensor
from torch.nn import functional

from mmsscl.errors import InputError

_CHUNK = 1024


def weighted_knn(
    bank: Tensor, bank_labels: Tensor, queries: Tensor, num_classes: int, k: int = 20, temperature: float = 0.07
) -> Tensor:
    """Votes of the ``k`` most alike labelled features, each weighing exp(cosine / temperature).

    As in Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination (CVPR 2018), section 3.4,
    whose values are k = 200 and temperature .07 on ImageNet.

    Args:
        bank: (M, C), the labelled features.
        bank_labels: int64 (M,), 0 to ``num_classes - 1``.
        queries: (N, C).
        num_classes: Number of classes.
        k: Neighbours, 1 to M.
        temperature: Above 0; small: the nearest decide.

    Returns:
        float32 (N, num_classes); a row sums to one.

    Raises:
        InputError: ``k`` or ``temperature`` is out of its range.

    Example:
        >>> weighted_knn(torch.eye(2), torch.tensor([0, 1]), torch.tensor([[3.0, 1.0]]), 2, k=1)
        tensor([[1., 0.]])
    """
    if not 1 <= k <= len(bank):
        raise InputError(f"k={k}: neighbours are counted from 1 to the {len(bank)} labelled photos.")
    if not temperature > 0:
        raise InputError(f"temperature={temperature}: give a value above 0.")
    bank = functional.normalize(bank.float(), dim=1)
    found = []
    for part in queries.split(_CHUNK):
        similarity, nearest = (functional.normalize(part.float(), dim=1) @ bank.T).topk(k, dim=1)
        # of a row only the ratios count: the largest is one, so that none overflows
        weights = ((similarity - similarity[:, :1]) / temperature).exp()
        votes = torch.zeros(len(part), num_classes, device=bank.device).scatter_add_(1, bank_labels[nearest], weights)
        found.append(votes / votes.sum(1, keepdim=True))
    return torch.cat(found)


def top_hits(scores: Tensor, labels: Tensor, top: int = 1) -> Tensor:
    """Whether the label of each row is among its ``top`` highest scores.

    Args:
        scores: (N, classes).
        labels: int64 (N,).
        top: How many count; more than there are classes: all.

    Returns:
        bool (N,).
    """
    best = scores.topk(min(top, scores.shape[1]), dim=1).indices
    return (best == labels[:, None]).any(1)


def top_accuracy(scores: Tensor, labels: Tensor, top: int = 1) -> float:
    """Percentage of rows that are :func:`top_hits`, with the same arguments."""
    return 100 * float(top_hits(scores, labels, top).float().mean())
