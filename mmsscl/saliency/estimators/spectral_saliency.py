"""Saliency as the strongest division of an image's own features."""
import torch
from torch import Tensor
from torch.nn import functional

from mmsscl.errors import InputError
from mmsscl.registry import MODELS
from mmsscl.saliency.estimators.base import EstimatedSaliency, Projection, SaliencyEstimator
from mmsscl.saliency.estimators.sign_rule import orient_maps

# Variation over the map below this share of the features' energy is rounding noise.
_FLAT = 1e-10
# A matrix squared this often is its 4096th power: an eigenvalue 1 % below the largest is gone.
_SQUARINGS = 12
# Keeps every cell tied to every other: the cut of a graph in pieces is arbitrary (as in TokenCut).
_LEAST_AFFINITY = 1e-5


@MODELS.register_module()
class SpectralSaliency(SaliencyEstimator):
    """Where an image's features lie on the foreground side of their main division.

    Each image's mean feature is taken off first: features after a ReLU all point the same way, and their main direction
    would be that mean. An eigenvector has no sign: :func:`orient_maps` chooses it, and ``estimate().trust`` is low
    where its rules disagree.

    The eigenvector comes from repeated squaring of the matrix of cells (or channels, if fewer): matrix products only,
    batched, and, unlike an eigen-decomposition on a GPU, without waiting for the device.

    Args:
        mode: "component": projection on the first principal component; "cut": second eigenvector of the normalised
            affinity (the normalised cut of TokenCut and deep spectral methods, CVPR 2022), with soft affinities: cosines,
            negative ones as good as 0.

    Raises:
        InputError: Another mode.
    """

    def __init__(self, mode: str = "component") -> None:
        super().__init__()
        if mode not in ("component", "cut"):
            raise InputError(f"SpectralSaliency: mode={mode!r} is not known; use 'component' or 'cut'.")
        self.mode = mode

    def extra_repr(self) -> str:
        return f"mode={self.mode!r}"

    def _estimate(self, features: Tensor, project: Projection | None, positives: Tensor | None) -> EstimatedSaliency:
        cells = features.flatten(2).mT
        centred = cells - cells.mean(1, keepdim=True)
        energy = cells.square().sum((1, 2))
        flat = centred.square().sum((1, 2)) <= _FLAT * energy
        side = _component_side(centred) if self.mode == "component" else _cut_side(centred)
        side = side - side.mean(1, keepdim=True)
        oriented = orient_maps(side.masked_fill(flat[:, None], 0.0).unflatten(1, features.shape[-2:]))
        lowest = oriented.maps.amin((1, 2), keepdim=True)
        return EstimatedSaliency(oriented.maps - lowest, oriented.trust)


def _component_side(centred: Tensor) -> Tensor:
    """(N, cells, C) with mean zero over the cells -> (N, cells): projections on the first principal component."""
    if centred.shape[1] <= centred.shape[2]:
        return leading_eigenvectors(centred @ centred.mT)
    return (centred @ leading_eigenvectors(centred.mT @ centred).unsqueeze(-1)).squeeze(-1)


def _cut_side(centred: Tensor) -> Tensor:
    """(N, cells, C) -> (N, cells): second generalised eigenvector of the affinity's normalised Laplacian."""
    units = functional.normalize(centred, dim=-1)
    affinity = (units @ units.mT).clamp_min(_LEAST_AFFINITY)
    degree = affinity.sum(-1)
    scale = degree.rsqrt()
    first = functional.normalize(degree.sqrt(), dim=-1)
    normalised = scale.unsqueeze(-1) * affinity * scale.unsqueeze(-2)
    # Eigenvalues from [-1, 1] to [0, 1], so that the largest is also the largest in size; the first, known one goes to 0.
    identity = torch.eye(affinity.shape[-1], device=centred.device)
    remaining = (normalised + identity) / 2.0 - first.unsqueeze(-1) * first.unsqueeze(-2)
    return leading_eigenvectors(remaining) * scale


def leading_eigenvectors(matrices: Tensor) -> Tensor:
    """Eigenvectors of the largest eigenvalue, up to sign, by repeated squaring.

    Args:
        matrices: (N, n, n) float32, symmetric, no eigenvalue below 0.

    Returns:
        (N, n) of length 1; zeros for a matrix of zeros. Where the two largest eigenvalues are equal (to about 1e-3), a
        vector in the plane of both.
    """
    power = matrices
    for _ in range(_SQUARINGS):
        power = _unit_trace(power)
        power = power @ power
    # What remains is the outer product of the eigenvector with itself: its largest column has the fewest rounding errors.
    largest = power.diagonal(dim1=-2, dim2=-1).argmax(-1)
    columns = power.gather(-1, largest[:, None, None].expand(-1, power.shape[-1], 1)).squeeze(-1)
    return functional.normalize(columns, dim=-1)


def _unit_trace(matrices: Tensor) -> Tensor:
    trace = matrices.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    return matrices / torch.where(trace > 0, trace, 1.0)
