"""Which side of an eigenvector is the foreground."""
from typing import NamedTuple

import torch
from torch import Tensor

# Trust where the two rules contradict each other.
DISAGREEMENT_TRUST = 0.25


class OrientedMaps(NamedTuple):
    """Maps with the foreground positive.

    Attributes:
        maps: (N, h, w), the input times +1 or -1.
        trust: (N,) float32: 1 where both rules agree or only one says anything, ``DISAGREEMENT_TRUST`` where they
            contradict each other, 0 where neither says anything.
    """

    maps: Tensor
    trust: Tensor


def orient_maps(signed: Tensor) -> OrientedMaps:
    """Give each map the sign that makes its positive cells the foreground.

    Two rules vote, each with a number in [-1, 1], above 0 for the sign as it is:
    - area: the foreground covers less than half: share of negative cells minus share of positive cells;
    - border: the foreground is rarer on the border (the outermost ring of cells) than inside it: difference of the
      positive share, less the negative share, between inside and border, halved. Silent (0) on a map without inside,
      less than 3 cells high or wide.
    The sum of the votes decides; exactly even votes leave the sign.

    Args:
        signed: (N, h, w), centred: cells above 0 lie on one side, those below on the other.
    """
    sides = signed.sign()
    area = -sides.mean((1, 2))
    border = torch.zeros_like(area)
    if min(signed.shape[1:]) >= 3:
        inside = sides[:, 1:-1, 1:-1]
        ring_cells = sides.shape[1:].numel() - inside.shape[1:].numel()
        ring = (sides.sum((1, 2)) - inside.sum((1, 2))) / ring_cells
        border = (inside.mean((1, 2)) - ring) / 2.0
    keep = area + border >= 0
    trust = torch.where(area * border < 0, DISAGREEMENT_TRUST, 1.0)
    trust = torch.where((area == 0) & (border == 0), 0.0, trust)
    return OrientedMaps(torch.where(keep[:, None, None], signed, -signed), trust)
