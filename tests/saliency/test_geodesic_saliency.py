"""Distances from the border, against Dijkstra's."""
import numpy as np
import pytest
import torch
from scipy.sparse import lil_matrix
from scipy.sparse.csgraph import dijkstra

from mmsscl.errors import InputError
from mmsscl.registry import MODELS
from mmsscl.saliency.estimators import GeodesicSaliency
from mmsscl.saliency.estimators.geodesic_saliency import step_costs
from mmsscl.saliency.extract import extract_maps
from mmsscl.saliency.normalise import entropy_trust, normalise_maps


def by_dijkstra(features):
    """One image's map, cell by cell: features (C, h, w) as numpy."""
    height, width = features.shape[1:]
    units = features / np.linalg.norm(features, axis=0)
    graph = lil_matrix((height * width + 1, height * width + 1))
    for y in range(height):
        for x in range(width):
            if y in (0, height - 1) or x in (0, width - 1):
                # scipy drops edges of 0
                graph[height * width, y * width + x] = 1e-12
            for v in range(max(y - 1, 0), min(y + 2, height)):
                for u in range(max(x - 1, 0), min(x + 2, width)):
                    if (v, u) != (y, x):
                        graph[y * width + x, v * width + u] = 1 - units[:, y, x] @ units[:, v, u]
    return dijkstra(graph.tocsr(), indices=height * width)[:-1].reshape(height, width)


@pytest.mark.parametrize("shape", [(9, 9), (5, 12), (14, 14), (3, 3)])
def test_equals_dijkstra(shape):
    features = torch.randn(3, 16, *shape, generator=torch.Generator().manual_seed(0))
    # The signs make the cheapest ways wind: neighbours of one sign are near, others far.
    maps = GeodesicSaliency()(features)
    for each, found in zip(features.double().numpy(), maps.numpy(), strict=True):
        np.testing.assert_allclose(found, by_dijkstra(each), atol=1e-5)


def test_costs_name_the_neighbour_they_lead_to():
    features = torch.randn(1, 4, 4, 5, generator=torch.Generator().manual_seed(1))
    costs = step_costs(features)
    shifts = [(v, u) for v in (-1, 0, 1) for u in (-1, 0, 1) if (v, u) != (0, 0)]
    for number, (down, right) in enumerate(shifts):
        for y in range(4):
            for x in range(5):
                if 0 <= y + down < 4 and 0 <= x + right < 5:
                    cosine = torch.cosine_similarity(features[0, :, y, x], features[0, :, y + down, x + right], dim=0)
                    assert costs[0, number, y, x] == pytest.approx(1 - cosine.item(), abs=1e-5)
                else:
                    assert costs[0, number, y, x] == torch.inf


def test_an_object_stands_out_wherever_its_gap_is_not():
    """A closed ring of features keeps its inside salient; with a gap in it the background flows in."""
    features = torch.zeros(2, 2, 11, 11)
    features[:, 0] = 1.0
    features[:, :, 3:8, 3:8] = torch.tensor([0.0, 1.0])[None, :, None, None]
    features[:, :, 4:7, 4:7] = torch.tensor([1.0, 0.0])[None, :, None, None]
    features[1, :, 3, 5] = torch.tensor([1.0, 0.0])
    closed, open_ = GeodesicSaliency()(features)
    assert closed[5, 5] == 2.0
    assert closed[3, 3] == closed[5, 7] == 1.0
    assert closed[2, 2] == closed[0, 5] == 0.0
    assert open_[5, 5] == 0.0
    assert open_[7, 5] == 1.0


def test_scale_of_features_does_not_matter():
    features = torch.rand(2, 8, 7, 7, generator=torch.Generator().manual_seed(2))
    brightness = 0.1 + torch.rand(2, 1, 7, 7, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(GeodesicSaliency()(features), GeodesicSaliency()(1e3 * features * brightness))


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (6, 2)])
def test_a_map_of_border_alone_is_even_and_not_trusted(shape):
    features = torch.rand(2, 8, *shape, generator=torch.Generator().manual_seed(4))
    maps = GeodesicSaliency()(features)
    assert not maps.any()
    assert not entropy_trust(normalise_maps(maps)).any()


def test_even_features_are_not_trusted():
    one = torch.rand(1, 2048, 1, 1, generator=torch.Generator().manual_seed(5))
    # brightness alone differs: cosines are 1 but for rounding
    features = one * (1 + torch.rand(4, 1, 14, 14, generator=torch.Generator().manual_seed(6)))
    assert GeodesicSaliency().estimate(features).trust.amax() < 1e-6
    silent = GeodesicSaliency().estimate(torch.zeros(2, 8, 9, 9))
    assert not silent.maps.any()
    assert not silent.trust.any()


def test_an_even_image_is_not_trusted_though_padding_marks_its_rim():
    """A padded network's features differ at the rim of an even image: a map with all the shape of an object's."""
    torch.manual_seed(0)
    backbone = MODELS.build(dict(type="mmpretrain.ResNet", depth=18, norm_cfg=dict(type="BN")))
    backbone.eval()
    images = torch.zeros(2, 3, 448, 448)
    images[1, :, 160:288, 160:288] = 2 * torch.randn(3, 128, 128)
    even, framed = extract_maps(backbone, None, GeodesicSaliency(), 1.0 + images)[1]
    assert even < 0.1
    assert framed > 3 * even


def test_a_cell_without_activation_is_no_contrast_to_another():
    features = torch.rand(1, 8, 9, 9, generator=torch.Generator().manual_seed(7))
    features[:, :, 2:7, 2:7] = 0.0
    features[:, :, :2] = features[:, :, :1, :1]
    maps = GeodesicSaliency()(features)[0]
    torch.testing.assert_close(maps[2:7, 2:7], torch.full((5, 5), 0.5))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_value_that_is_not_finite_takes_the_trust_of_its_image(value):
    features = torch.rand(2, 8, 9, 9, generator=torch.Generator().manual_seed(8))
    features[0, 3, 4, 4] = value
    maps, trust = GeodesicSaliency().estimate(features)
    maps = normalise_maps(maps)
    assert maps.isfinite().all()
    assert (maps[0] == 0.5).all()
    assert trust[0] == 0
    assert trust[1] > 0.5


def test_the_trust_grows_to_one_at_the_clear_cost():
    features = torch.zeros(1, 2, 5, 5)
    features[:, 0] = 1.0
    features[:, :, 2, 2] = torch.tensor([0.8, 0.6])  # a cosine distance of .2
    for cost, trust in ((0.1, 1.0), (0.2, 1.0), (0.4, 0.5), (2.0, 0.1)):
        assert GeodesicSaliency(clear_cost=cost).estimate(features).trust.item() == pytest.approx(trust)
    with pytest.raises(InputError, match="clear_cost=0 must be positive"):
        GeodesicSaliency(clear_cost=0)
