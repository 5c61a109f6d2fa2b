"""Saliency as the distance from the image's border, through its own features."""
import torch
from torch import Tensor
from torch.nn import functional

from mmsscl.errors import InputError
from mmsscl.registry import MODELS
from mmsscl.saliency.estimators.base import EstimatedSaliency, Projection, SaliencyEstimator

_SHIFTS = tuple((down, right) for down in range(3) for right in range(3) if (down, right) != (1, 1))


@MODELS.register_module()
class GeodesicSaliency(SaliencyEstimator):
    """How much features change on the way from the border to a cell, by the easiest way.

    After geodesic saliency (Wei et al., ECCV 2012), on features in place of colours: a scene's border is mostly background,
    background is connected and changes little, so what can only be reached from the border across a strong change is
    an object. A step goes to one of the eight neighbours and costs the cosine distance of the two cells' features, in
    [0, 2]; the map is the cost of the cheapest path from any cell of the outermost ring, where it is 0.

    It favours the middle, as photographers do: of all estimators compare this one with shuffled maps and a centred Gaussian
    (``tools/eval_saliency.py``). An object that the border cuts through counts less towards the border; an image full of
    texture gives a map too, a hill in its middle. Neither a sign has to be guessed nor other images are needed.

    Trust grows with the dearest way, to 1 at ``clear_cost``: an even image has nothing to cross but what padding
    leaves at its rim (in a small run up to .01, photos from .5 on).

    Args:
        clear_cost: Cost of the dearest of an image's ways from which its map is fully trusted, above 0.

    Raises:
        InputError: A cost that is not positive.
    """

    def __init__(self, clear_cost: float = 0.25) -> None:
        super().__init__()
        if not clear_cost > 0:
            raise InputError(f"GeodesicSaliency: clear_cost={clear_cost!r} must be positive, e.g. 0.25.")
        self.clear_cost = clear_cost

    def extra_repr(self) -> str:
        return f"clear_cost={self.clear_cost}"

    def _estimate(self, features: Tensor, project: Projection | None, positives: Tensor | None) -> EstimatedSaliency:
        maps = border_distances(step_costs(features))
        dearest = maps.amax((1, 2))
        trust = (dearest / self.clear_cost).clamp_max(1.0)
        return EstimatedSaliency(maps, torch.where(dearest.isfinite(), trust, 0.0))


def step_costs(features: Tensor) -> Tensor:
    """Cosine distances of each cell to its eight neighbours.

    Args:
        features: (N, C, h, w) float32.

    Returns:
        (N, 8, h, w) in [0, 2], neighbours in reading order; inf where there is none. Two cells without any activation
        are alike (0), one such cell and another are half a unit apart.
    """
    height, width = features.shape[-2:]
    units = functional.normalize(features, dim=1)
    costs = features.new_full((len(features), 3, 3, height, width), torch.inf)
    for down, right in _SHIFTS[4:]:
        # Each pair of cells is compared once: with the neighbours to the right and below; the others by symmetry.
        here = (..., slice(0, height + 1 - down), slice(max(1 - right, 0), width - max(right - 1, 0)))
        there = (..., slice(down - 1, height), slice(max(right - 1, 0), width - max(1 - right, 0)))
        # 1 - cos of unit vectors, without the rounding of a difference of numbers near 1
        distance = (units[here] - units[there]).square().sum(1) / 2.0
        costs[:, down, right][here] = distance
        costs[:, 2 - down, 2 - right][there] = distance
    return torch.stack([costs[:, down, right] for down, right in _SHIFTS], dim=1)


def border_distances(costs: Tensor) -> Tensor:
    """Cost of the cheapest path from the border, of at most h + w steps.

    Args:
        costs: (N, 8, h, w) of :func:`step_costs`: not negative, the same both ways.

    Returns:
        (N, h, w), 0 on the outermost ring.
    """
    height, width = costs.shape[-2:]
    distances = costs.new_zeros(len(costs), height, width)
    distances[:, 1:-1, 1:-1] = torch.inf
    # Bellman and Ford's sweeps, for all cells at once: the number is fixed, so that the device need not be waited for.
    for _ in range(height + width):
        padded = functional.pad(distances, (1, 1, 1, 1), value=torch.inf)
        before = [padded[:, down : down + height, right : right + width] for down, right in _SHIFTS]
        distances = torch.minimum(distances, (torch.stack(before, dim=1) + costs).amin(1))
    return distances
