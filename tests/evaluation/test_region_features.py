"""Features of regions: where they are pooled, and what networks that know only places make of them."""
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from torch import Tensor
from torch.nn import functional
from torchvision.ops import roi_align

from mmsscl.errors import InputError
from mmsscl.evaluation.region_features import Regions, closeness, region_features
from mmsscl.evaluation.region_pairs import PairSettings, region_batches
from mmsscl.evaluation.region_retrieval import Ranks, box_overlaps, retrieval_ranks
from mmsscl.registry import MODELS

SETTINGS = PairSettings(size=128, num_boxes=5, min_size=24, batch_size=5)


@pytest.fixture(scope="module")
def maps_of_places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Photos whose red tells the column, green the row and blue the photo."""
    folder = tmp_path_factory.mktemp("places")
    ramp = np.arange(256, dtype=np.uint8)
    for index in range(12):
        pixels = np.stack([np.full((256, 256), 20 * index), ramp[:, None].repeat(256, 1), ramp[None].repeat(256, 0)], 2)
        cv2.imwrite(str(folder / f"{index:02d}.png"), pixels.astype(np.uint8))
    return sorted(str(path) for path in folder.iterdir())


def network(maps: Any, stride: int = 4) -> Any:
    return SimpleNamespace(stride=stride, maps=maps)


def colors(images: Tensor) -> Tensor:
    """Cell i is pixel i * stride, as in a ResNet."""
    return functional.pad(images[..., ::4, ::4].float() - 127, (0, 0, 0, 0, 0, 1), value=90.0)


def mean_colors(images: Tensor) -> Tensor:
    """Cell i is the patch of the pixels from i * stride, as in a ViT."""
    return functional.pad(functional.avg_pool2d(images.float(), 4) - 127, (0, 0, 0, 0, 0, 1), value=90.0)


def view_places(images: Tensor) -> Tensor:
    ramp = torch.linspace(-1, 1, 32)
    maps = torch.stack([ramp[None].expand(32, 32), ramp[:, None].expand(32, 32), torch.ones(32, 32)])
    return maps.expand(len(images), 3, 32, 32)


def found(regions: Regions, name: str) -> tuple[Ranks, Ranks]:
    return retrieval_ranks(*regions.features[name], regions.valid, box_overlaps(regions.boxes[1]) > 0.5)


def test_who_knows_places_in_the_photo_finds_all_and_who_knows_them_in_the_view_does_not(maps_of_places: list[str]) -> None:
    views = torch.cat([batch.views for batch in region_batches(maps_of_places, SETTINGS)], dim=1).float()
    flipped = views[:, :, 0, 64, 0] > views[:, :, 0, 64, -1]
    # both kinds of pairs are there
    assert 0 < int((flipped[0] != flipped[1]).sum()) < 12
    regions = region_features({"photo": network(colors), "view": network(view_places)}, maps_of_places, SETTINGS)
    assert [ranks.scores()["top1"] for ranks in found(regions, "photo")] == [1.0, 1.0]
    within, across = found(regions, "view")
    assert 1 / 5 < within.scores()["top1"] < 0.6
    assert across.scores()["top1"] < 0.2
    same_side = np.repeat((flipped[0] == flipped[1]).numpy(), 5)[regions.valid.flatten().numpy()]
    assert within.scores(~same_side)["mrr"] < within.scores(same_side)["mrr"]
    # patches need the shift
    patches = region_features({"photo": network(mean_colors)}, maps_of_places, SETTINGS, aligned=True)
    assert found(patches, "photo")[0].scores()["top1"] == 1.0


def test_a_resnet_cell_looks_at_the_first_pixel_of_its_patch() -> None:
    """Why regions are pooled without the half-pixel shift."""
    init_default_scope("mmsscl")
    torch.manual_seed(0)
    backbone = MODELS.build(dict(type="mmpretrain.ResNet", depth=18, base_channels=8, stem_channels=8))
    backbone.eval()
    images = torch.randn(24, 3, 256, 256, requires_grad=True)
    backbone(images)[-1][..., 4].square().sum().backward()
    seen = images.grad.abs().sum((0, 1, 2))
    centre = float((seen * (torch.arange(256) + 0.5)).sum() / seen.sum())
    assert centre == pytest.approx(4 * 32, abs=4)
    assert abs(centre - 4.5 * 32) > 12


@pytest.mark.parametrize("aligned", [False, True])
def test_pooled_as_torchvision_does(maps_of_places: list[str], aligned: bool) -> None:
    maps = torch.rand(24, 7, 8, 8, generator=torch.Generator().manual_seed(0))
    regions = region_features(
        {"any": network(lambda images: maps, stride=16)}, maps_of_places,
        PairSettings(size=128, num_boxes=5, min_size=24, batch_size=12), aligned,
    )  # fmt: skip
    flat = list(regions.boxes.flatten(0, 1))
    wanted = roi_align(maps, flat, 1, 1 / 16, aligned=aligned).flatten(1).view(2, 12, 5, 7)
    torch.testing.assert_close(regions.features["any"], functional.normalize(wanted, dim=-1), atol=1e-5, rtol=0)
    assert regions.strides == {"any": 16}


def test_what_is_known_of_regions_without_a_network(maps_of_places: list[str]) -> None:
    regions = region_features({"any": network(view_places)}, maps_of_places, SETTINGS)
    boxes = regions.boxes.numpy()
    places = regions.places().numpy()
    np.testing.assert_allclose(places[..., :2] - places[..., 2:] / 2, boxes[..., :2], atol=1e-4)
    np.testing.assert_allclose(places[..., :2] + places[..., 2:] / 2, boxes[..., 2:], atol=1e-4)
    areas = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    np.testing.assert_allclose(regions.cells(4), np.sqrt(areas.min(0)) / 4, rtol=1e-5)
    # a ramp's mean is its value in the middle; both views show the same
    assert (regions.colors[0] - regions.colors[1])[regions.valid].abs().max() < 2
    queries, candidates = closeness(regions.places() / 128)
    for n in range(3):
        one, other = places[0, n] / 128, places[1, n] / 128
        wanted = -((one[:, None] - other) ** 2).sum(-1)
        np.testing.assert_allclose(queries[n] @ candidates[n].T, wanted, atol=1e-5)


def test_networks_that_cannot_be_used(maps_of_places: list[str]) -> None:
    def broken(value: float, view: int) -> Any:
        def maps(images: Tensor) -> Tensor:
            made = colors(images)
            # the views of all photos come one after the other, first the first views
            made[12 * view + 1, 0, 3, 3] = value
            return made

        return network(maps)

    whole = PairSettings(size=128, num_boxes=5, min_size=24, batch_size=12)
    for value, view in ((float("nan"), 0), (float("inf"), 1)):
        with pytest.raises(InputError, match=r"epoch_3: its features of .*01\.png are not finite"):
            region_features({"epoch_3": broken(value, view)}, maps_of_places, whole)
    with pytest.raises(InputError, match=r"n: .*stride of 48 px.*size=128 .*Give --size 144"):
        region_features({"n": network(colors, stride=48)}, maps_of_places, whole)
    with pytest.raises(InputError, match=r"n: .*1 x 1 cells, not 32 x 32"):
        region_features({"n": network(lambda images: torch.ones(len(images), 3, 1, 1))}, maps_of_places, whole)
