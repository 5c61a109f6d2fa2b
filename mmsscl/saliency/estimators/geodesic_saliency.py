"""Saliency as the distance from the image's border, through its own features."""
import torch
from torch import Tensor
from torch.nn import functional

from mmsscl.registry import MODELS
from mmsscl.saliency.estimators.base import EstimatedSaliency, Projection, SaliencyEstimator

# A smaller cosine distance is rounding; summed along a path it would pass for contrast.
_LEAST_STEP = 1e-5
_SHIFTS = tuple((down, right) for down in range(3) for right in range(3) if (down, right) != (1, 1))


@MODELS.register_module()
class GeodesicSaliency(SaliencyEstimator):
    """How much features change on the way from the border to a cell, by the easiest way.

    After geodesic saliency (Wei et al., ECCV 2012), on features in place of colours: a scene's border is mostly background,
    background is connected and changes little, so what can only be reached from the border across a strong change is
    an object. A step goes to one of the eight neighbours and costs the cosine distance of the two cells' features, in
    [0, 2]; the map is the cost of the cheapest path from any cell of the outermost ring, where it is 0.

    It favours the middle, as photographers do: of all estimators compare this one with shuffled maps and a centred Gaussian
    (``tools/eval_saliency.py``). An object that the border cuts through counts less towards the border. Neither a
    sign has to be guessed nor other images are needed.
    """

    def _estimate(self, features: Tensor, project: Projection | None, positives: Tensor | None) -> EstimatedSaliency:
        return EstimatedSaliency(border_distances(step_costs(features)), features.new_ones(len(features)))


def step_costs(features: Tensor) -> Tensor:
    """Cosine distances of each cell to its eight neighbours.

    Args:
        features: (N, C, h, w) float32.

    Returns:
        (N, 8, h, w) in [0, 2], neighbours in reading order; inf where there is none.
    """
    height, width = features.shape[-2:]
    units = functional.normalize(features, dim=1)
    costs = features.new_full((len(features), 3, 3, height, width), torch.inf)
    for down, right in _SHIFTS[4:]:
        # Each pair of cells is compared once: with the neighbours to the right and below; the others by symmetry.
        here = (..., slice(0, height + 1 - down), slice(max(1 - right, 0), width - max(right - 1, 0)))
        there = (..., slice(down - 1, height), slice(max(right - 1, 0), width - max(1 - right, 0)))
        distance = 1.0 - (units[here] * units[there]).sum(1)
        distance = torch.where(distance > _LEAST_STEP, distance, 0.0)
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
