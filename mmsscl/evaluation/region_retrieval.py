"""How often a region finds itself in another view, by the likeness of its features."""
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmsscl.errors import InputError

EQUAL = 1e-6
"""Products of unit vectors in float32 that differ by less count as equal."""
_MOST_PRODUCTS = 2**24


@dataclass(frozen=True)
class Ranks:
    """Where the right candidate stands, for each of Q queries.

    Attributes:
        above: int64 (Q,), candidates that are more like the query than the right one.
        level: int64 (Q,), other candidates that are just as like it.
        candidates: int64 (Q,), how many there are, the right one included.
    """

    above: np.ndarray
    level: np.ndarray
    candidates: np.ndarray

    def scores(self, chosen: np.ndarray | None = None) -> dict[str, float]:
        """``top1``, ``top5`` and ``mrr`` (mean of 1 / rank): means over the queries, each in [0, 1], nan without a query.

        Among candidates that are equally like the query the order is drawn by lot, and these are the expected values. So
        features that tell nothing score what guessing does, neither 0 nor 1.

        Args:
            chosen: bool (Q,), the queries that count; all by default.
        """
        parts = {name: part if chosen is None else part[chosen] for name, part in self.query_scores().items()}
        return {name: float(part.mean()) if len(part) else float("nan") for name, part in parts.items()}

    def query_scores(self) -> dict[str, np.ndarray]:
        """What each query adds to :meth:`scores`: float64 (Q,) each."""
        above, tied = self.above, self.level + 1
        harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, (above + tied).max(initial=0) + 1))])
        found = {f"top{most}": np.clip(most - above, 0, tied) / tied for most in (1, 5)}
        return found | {"mrr": (harmonic[above + tied] - harmonic[above]) / tied}

    def guessing(self) -> "Ranks":
        """The ranks of features that are all the same."""
        return Ranks(np.zeros_like(self.above), self.candidates - 1, self.candidates)


def box_overlaps(boxes: Tensor) -> Tensor:
    """IoU of the boxes of each photo with one another.

    Args:
        boxes: (N, K, 4) xyxy.

    Returns:
        (N, K, K) in [0, 1].
    """
    one, other = boxes[:, :, None], boxes[:, None]
    sides = (torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(one[..., :2], other[..., :2])).clamp(min=0)
    shared = sides.prod(-1)
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    return shared / (areas[:, :, None] + areas[:, None] - shared).clamp(min=torch.finfo(boxes.dtype).tiny)


def retrieval_ranks(queries: Tensor, candidates: Tensor, valid: Tensor, left_out: Tensor) -> tuple[Ranks, Ranks]:
    """Look for each box of the first views among those of the second views.

    Args:
        queries: float32 (N, K, C), the features of K boxes in the first view of N photos. Likeness is the product, so
            unit vectors are compared by cosine.
        candidates: float32 (N, K, C), those in the second view; the right one for query (n, k) is candidate (n, k).
        valid: bool (N, K): where False there is no box, neither as query nor as candidate.
        left_out: bool (N, K, K): candidate (n, j) is none for query (n, k) where [n, k, j], as it shows nearly the same.
            The right one always is one.

    Returns:
        Ranks among the boxes of the same photo, and among those of all photos. The queries are the valid boxes, photo
        by photo.

    Raises:
        InputError: There is no valid box.
    """
    if not bool(valid.any()):
        raise InputError("no photo has a box that both its views show. Give more photos, or smaller boxes.")
    photos, boxes = valid.shape
    shortcut = left_out & ~torch.eye(boxes, dtype=torch.bool, device=valid.device)
    barred = shortcut | ~valid[:, None, :]
    within, across = [], []
    step = max(1, _MOST_PRODUCTS // (boxes * photos * boxes))
    flat = candidates.flatten(0, 1).T
    for start in range(0, photos, step):
        chunk = slice(start, start + step)
        alike = (queries[chunk].flatten(0, 1) @ flat).unflatten(1, (photos, boxes)).unflatten(0, (-1, boxes))
        alike.masked_fill_(~valid, -torch.inf)
        # (photos of the chunk, query, candidate), a view: what is barred there is barred among all photos too
        own = alike.diagonal(offset=start, dim1=0, dim2=2).movedim(-1, 0)
        right = own.diagonal(dim1=1, dim2=2).clone()
        own.masked_fill_(barred[chunk], -torch.inf)
        within.append(_counts(own, right))
        across.append(_counts(alike.flatten(2), right))
    asked = valid.flatten()
    near = (~barred).sum(2).flatten()[asked]
    far = valid.sum() - (shortcut & valid[:, None, :]).sum(2).flatten()[asked]
    return _ranks(within, near, asked), _ranks(across, far, asked)


def _counts(alike: Tensor, right: Tensor) -> Tensor:
    """(2, n, K): how many of (n, K, M) are above the right one's likeness (n, K), and how many others level with it."""
    above = (alike > right[..., None] + EQUAL).sum(-1)
    return torch.stack([above, (alike >= right[..., None] - EQUAL).sum(-1) - above - 1])


def _ranks(counts: list[Tensor], candidates: Tensor, asked: Tensor) -> Ranks:
    above, level = torch.cat(counts, dim=1).flatten(1)[:, asked].cpu().numpy()
    return Ranks(above, level, candidates.cpu().numpy())
