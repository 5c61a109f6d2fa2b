"""Raw saliency maps to [0, 1], how far such a map is to be trusted, and its size."""
import torch
from torch import Tensor
from torch.nn import functional

from mmsscl.errors import InputError

# A map whose values spread less than this, relative to the largest, holds rounding noise only.
_FLAT = 1e-6
# Saliency spread over this share of the image or less (the sign rule's limit for a foreground) is fully trusted.
FOCUSED_SHARE = 0.5


def normalise_maps(raw: Tensor, low: float = 0.01, high: float = 0.99) -> Tensor:
    """Clip each map at two of its percentiles, then stretch it to [0, 1].

    Args:
        raw: (N, h, w), any range.
        low: Lower percentile, as a share in [0, 1); linear between neighbours, as numpy's.
        high: Upper percentile, above ``low``.

    Returns:
        (N, h, w) float32, smallest value of a map 0, largest 1. A map without contrast, or with a value that is not
        finite, is 0.5 everywhere (:func:`entropy_trust` gives it 0). Where contrast lies beyond the percentiles only (a
        peak of one cell on an even map), smallest and largest value take their place.

    Raises:
        InputError: Another shape, or percentiles out of order.
    """
    _check_maps(raw, "normalise_maps")
    if not 0.0 <= low < high <= 1.0:
        raise InputError(f"normalise_maps: low={low!r}, high={high!r} must be shares with 0 <= low < high <= 1.")
    values = raw.detach().float()
    finite = values.isfinite().all(dim=2).all(dim=1)[:, None, None]
    values = torch.where(finite, values, 0.0)
    ordered = values.flatten(1).sort(dim=1).values
    smallest, largest = ordered[:, :1], ordered[:, -1:]
    noise = _FLAT * torch.maximum(smallest.abs(), largest.abs())
    floor, ceiling = _percentile(ordered, low), _percentile(ordered, high)
    clipped_away = ceiling - floor <= noise
    floor = torch.where(clipped_away, smallest, floor)[..., None]
    spread = torch.where(clipped_away, largest, ceiling)[..., None] - floor
    flat = spread <= noise[..., None]
    stretched = ((values - floor) / torch.where(flat, 1.0, spread)).clamp(0.0, 1.0)
    return torch.where(flat, 0.5, stretched)


def entropy_trust(maps: Tensor) -> Tensor:
    """How far a map tells one part of the image from the rest, by its entropy.

    With the map's values as shares p of one, ``exp(entropy(p)) / (h * w)`` is the share of the image that the saliency is
    spread over: 1 for an even map, s for a map that is constant on a share s and 0 elsewhere, whatever the grid. Trust
    falls linearly from 1 at a share of 0.5 or less (``FOCUSED_SHARE``) to 0 at a share of 1. A ramp from 0 to 1, or noise
    even in [0, 1], has a share of 0.82 and a trust of 0.35: entropy does not see where the values lie.

    Args:
        maps: (N, h, w), not negative, usually from :func:`normalise_maps`.

    Returns:
        (N,) float32 in [0, 1]; exactly 0 for a map of all equal values.
    """
    _check_maps(maps, "entropy_trust")
    values = maps.detach().float().flatten(1)
    total = values.sum(1, keepdim=True)
    shares = values / torch.where(total > 0, total, 1.0)
    entropy = -torch.xlogy(shares, shares).sum(1)
    spread_over = entropy.exp() / values.shape[1]
    trust = ((1.0 - spread_over) / (1.0 - FOCUSED_SHARE)).clamp(0.0, 1.0)
    return torch.where(values.amin(1) == values.amax(1), 0.0, trust)


def average_mirrored(maps: Tensor, of_mirrored: Tensor) -> Tensor:
    """Mean of maps and of the maps of the mirrored images, turned back.

    Args:
        maps: (N, h, w).
        of_mirrored: (N, h, w), estimated on the images flipped left to right.

    Returns:
        (N, h, w) float32.
    """
    return (maps.float() + of_mirrored.float().flip(-1)) / 2.0


def resize_maps(maps: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Bring maps to a grid: area means where an axis shrinks, linear interpolation where it grows.

    Args:
        maps: (N, h, w).
        size: (height, width), or both in one number.

    Returns:
        (N, height, width) float32, within the range of the map's values.
    """
    _check_maps(maps, "resize_maps")
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise InputError(f"resize_maps: size={size!r} must be at least 1.")
    values = maps.float().unsqueeze(1)
    smaller = (min(height, maps.shape[1]), min(width, maps.shape[2]))
    if smaller != tuple(maps.shape[1:]):
        values = functional.adaptive_avg_pool2d(values, smaller)
    if smaller != (height, width):
        values = functional.interpolate(values, size=(height, width), mode="bilinear", align_corners=False)
    return values.squeeze(1)


def _percentile(ordered: Tensor, share: float) -> Tensor:
    """(N, 1): linear percentile of rows in ascending order (``torch.quantile`` refuses large inputs)."""
    position = share * (ordered.shape[1] - 1)
    below = int(position)
    above = min(below + 1, ordered.shape[1] - 1)
    return torch.lerp(ordered[:, below : below + 1], ordered[:, above : above + 1], position - below)


def _check_maps(maps: Tensor, where: str) -> None:
    if maps.dim() != 3 or maps.shape[1] < 1 or maps.shape[2] < 1:
        raise InputError(f"{where}: maps of shape {tuple(maps.shape)}. Pass (N, h, w) with h, w at least 1.")
