"""What networks, and controls that know little, say of regions."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mmsscl.errors import InputError
from mmsscl.evaluation.feature_network import FeatureNetwork
from mmsscl.evaluation.region_pairs import PairSettings, RegionBatch, region_batches
from mmsscl.models.layers import RegionPool

_COLOR_PATCH = 4


@dataclass(frozen=True)
class Regions:
    """The regions of N photos and what is known of them.

    Attributes:
        features: float32 (2, N, K, C) of each network, by its name; unit vectors, zero where a network sees nothing.
        strides: Pixels a feature cell of each network, by its name.
        colors: float32 (2, N, K, 3), each region's mean color in 0..255.
        boxes: float32 (2, N, K, 4), xyxy in view pixels.
        valid: bool (N, K); where False there is no such region.
    """

    features: dict[str, Tensor]
    strides: dict[str, int]
    colors: Tensor
    boxes: Tensor
    valid: Tensor

    def places(self) -> Tensor:
        """float32 (2, N, K, 4): centre (x, y) and sides (w, h) of the regions in view pixels."""
        low, high = self.boxes[..., :2], self.boxes[..., 2:]
        return torch.cat([(low + high) / 2, high - low], dim=-1)

    def cells(self, stride: int) -> Tensor:
        """The regions' sizes: float32 (N, K), the root of the area in feature cells, in the view that shows it smaller."""
        sides = self.boxes[..., 2:] - self.boxes[..., :2]
        return sides.prod(-1).amin(0).sqrt() / stride


@torch.no_grad()
def region_features(
    networks: Mapping[str, FeatureNetwork], paths: Sequence[str], settings: PairSettings, aligned: bool = False
) -> Regions:
    """Draw regions and describe them; each photo is read once for all networks.

    Features are pooled by RoIAlign. A ResNet's cell i looks at pixel i * stride: each of its strided layers begins at the
    first pixel. So its boxes are pooled as SCRL pools them, without RoIAlign's half-pixel shift; with it a region is half
    a cell off in view pixels, to different sides of the photo where one view is flipped, and what is counted is not the
    network's fault. Cells that lie in the middle of their patches (ViT, Swin, ConvNeXt) need the shift.

    Args:
        networks: By the names that messages and results call them.
        paths: Of the photos.
        settings: How views and boxes are drawn.
        aligned: Pool with the half-pixel shift.

    Raises:
        InputError: See :func:`~mmsscl.evaluation.region_pairs.region_batches`; the views are no multiple of a network's
            stride; or a network's features of a photo are not finite.
    """
    strides = {name: network.stride for name, network in networks.items()}
    for name, stride in strides.items():
        if settings.size % stride:
            raise InputError(
                f"{name}: its features have a stride of {stride} px, and views of size={settings.size} px are no multiple "
                f"of it. Give --size {max(1, round(settings.size / stride)) * stride}."
            )
    features: dict[str, list[Tensor]] = {name: [] for name in networks}
    colors, boxes, valid = [], [], []
    for batch in region_batches(paths, settings):
        views = batch.views.flatten(0, 1)
        for name, network in networks.items():
            maps = network.maps(views)
            vectors = _pooled(name, maps, RegionPool(strides[name], aligned), batch)
            features[name].append(functional.normalize(vectors, dim=-1).cpu())
        patches = functional.avg_pool2d(views.float(), _COLOR_PATCH)
        colors.append(RegionPool(_COLOR_PATCH, aligned=True)(patches, batch.boxes.flatten(0, 1)).unflatten(0, (2, -1)))
        boxes.append(batch.boxes)
        valid.append(batch.valid)
    joined = {name: torch.cat(parts, dim=1) for name, parts in features.items()}
    return Regions(joined, strides, torch.cat(colors, dim=1), torch.cat(boxes, dim=1), torch.cat(valid))


def _pooled(name: str, maps: Tensor, pool: RegionPool, batch: RegionBatch) -> Tensor:
    """float32 (2, B, K, C)."""
    cells = batch.views.shape[-1] // pool.stride
    if maps.shape[-2:] != (cells, cells):
        raise InputError(
            f"{name}: its features of {batch.views.shape[-1]} px views are {maps.shape[-2]} x {maps.shape[-1]} cells, not "
            f"{cells} x {cells}, so boxes have no place on them. Name a network that keeps places, or another --stage."
        )
    boxes = batch.boxes.flatten(0, 1).to(maps.device)
    vectors = pool(maps, boxes).unflatten(0, (2, -1))
    finite = vectors.isfinite().flatten(2).all(2).all(0)
    if not bool(finite.all()):
        raise InputError(
            f"{name}: its features of {batch.paths[int(finite.int().argmin())]} are not finite (nan or inf), so the weights "
            "are damaged or diverged. Take an earlier checkpoint."
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
