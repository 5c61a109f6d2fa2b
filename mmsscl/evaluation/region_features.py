"""What networks, and controls that know little, say of regions."""
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from mmsscl.errors import InputError
from mmsscl.evaluation.region_pairs import PairSettings, RegionBatch, region_batches
from mmsscl.models.layers import RegionPool


class DenseNetwork(Protocol):
    """What is asked of a network; :class:`~mmsscl.evaluation.feature_network.FeatureNetwork` has it."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def stride(self) -> int:
        """Pixels a feature cell."""

    def maps(self, images: Tensor) -> Tensor:
        """uint8 RGB (N, 3, H, W) to float32 (N, C, H / stride, W / stride)."""


@dataclass(frozen=True)
class Regions:
    """The regions of N photos and what is known of them.

    Attributes:
        features: float32 (2, N, K, C) of each network, unit vectors (zero where a network sees nothing).
        colors: float32 (2, N, K, 3): each region's mean color.
        boxes: float32 (2, N, K, 4), xyxy in view pixels.
        valid: bool (N, K); where False there is no such region.
    """

    features: list[Tensor]
    colors: Tensor
    boxes: Tensor
    valid: Tensor

    def cells(self, stride: int) -> Tensor:
        """The regions' sizes: float32 (N, K), the root of the area in feature cells, in the view that shows it smaller."""
        sides = self.boxes[..., 2:] - self.boxes[..., :2]
        return sides.prod(-1).amin(0).sqrt() / stride


@torch.no_grad()
def region_features(networks: Sequence[DenseNetwork], paths: Sequence[str], settings: PairSettings) -> Regions:
    """Draw regions and describe them; each photo is read once for all networks.

    Features are pooled by RoIAlign with the half-pixel shift of Mask R-CNN (``RegionPool(aligned=True)``). SCRL trains
    without it, which moves a box half a cell in view pixels, so to different sides of the photo where one view is
    flipped; that would be counted here as the network's fault.

    Raises:
        InputError: See :func:`~mmsscl.evaluation.region_pairs.region_batches`; the views are no multiple of a network's
            stride; or a network's features of a photo are not finite.
    """
    for network in networks:
        if settings.size % network.stride:
            raise InputError(
                f"{network.name}: its features have a stride of {network.stride} px, and views of size={settings.size} px "
                f"are no multiple of it. Give --size {max(1, round(settings.size / network.stride)) * network.stride}."
            )
    pools = [RegionPool(network.stride, aligned=True) for network in networks]
    features: list[list[Tensor]] = [[] for _ in networks]
    colors, boxes, valid = [], [], []
    for batch in region_batches(paths, settings):
        flat = batch.boxes.flatten(0, 1)
        for network, pool, kept in zip(networks, pools, features, strict=True):
            kept.append(functional.normalize(_pooled(network, pool, batch, flat), dim=-1).cpu())
        # a color is one for the whole box: no cell's worth of surroundings comes in
        colors.append(RegionPool(1, aligned=True)(batch.views.flatten(0, 1), flat).unflatten(0, (2, -1)))
        boxes.append(batch.boxes)
        valid.append(batch.valid)
    return Regions(
        [torch.cat(parts, dim=1) for parts in features], torch.cat(colors, dim=1), torch.cat(boxes, dim=1), torch.cat(valid)
    )


def _pooled(network: DenseNetwork, pool: RegionPool, batch: RegionBatch, boxes: Tensor) -> Tensor:
    """float32 (2, B, K, C)."""
    maps = network.maps(batch.views.flatten(0, 1))
    cells = batch.views.shape[-1] // network.stride
    if maps.shape[-2:] != (cells, cells):
        raise InputError(
            f"{network.name}: its features of {batch.views.shape[-1]} px views have {tuple(maps.shape[-2:])} cells, though "
            f"its stride of {network.stride} px asks for {cells} x {cells}. Choose another stage."
        )
    vectors = pool(maps, boxes.to(maps.device)).unflatten(0, (2, -1))
    finite = vectors.isfinite().all(-1).all(-1).all(0)
    if not bool(finite.all()):
        path = batch.paths[int(finite.int().argmin())]
        raise InputError(
            f"{network.name}: its features of {path} are not finite (nan or inf). The weights are broken, or this photo "
            "breaks them: look at the run's losses, or leave the photo out."
        )
    return vectors


def closeness(points: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors whose product is minus the squared distance of points: what products rank, nearness ranks.

    Args:
        points: (2, N, K, D).

    Returns:
        (N, K, D + 2) for the queries, of the first view, and for the candidates, of the second.
    """
    one, other = points
    squares = points.square().sum(-1, keepdim=True)
    ones = torch.ones_like(squares[0])
    return torch.cat([2 * one, -squares[0], ones], dim=-1), torch.cat([other, ones, -squares[1]], dim=-1)
