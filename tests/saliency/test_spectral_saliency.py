import numpy as np
import pytest
import torch
from scipy import linalg

from mmsscl.errors import InputError
from mmsscl.saliency.estimators import SpectralSaliency, orient_maps
from mmsscl.saliency.estimators.sign_rule import DISAGREEMENT_TRUST
from mmsscl.saliency.estimators.spectral_saliency import leading_eigenvectors


def blob(height=8, width=10, rows=slice(2, 6), columns=slice(3, 8)):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[rows, columns] = True
    return mask


def planted(masks, channels=24, noise=0.1, seed=0):
    """Non-negative features: a strong mean in all cells, a foreground direction inside the mask, noise."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(*shape, generator=generator)

    count, height, width = masks.shape
    foreground, background = draw(count, channels, 1, 1), draw(count, channels, 1, 1)
    features = 6 + torch.where(masks[:, None], foreground, background) + noise * draw(count, channels, height, width)
    return features.relu()


@pytest.mark.parametrize("channels", [7, 24, 200], ids=["fewer channels", "some", "fewer cells"])
def test_component_equals_numpy_svd(channels):
    features = planted(torch.stack([blob(), blob(rows=slice(1, 4)), blob(columns=slice(5, 9))]), channels)
    maps = SpectralSaliency()(features)
    for each, result in zip(features.double().numpy(), maps):
        cells = each.reshape(channels, -1).T
        left, strengths, _ = np.linalg.svd(cells - cells.mean(0), full_matrices=False)
        assert strengths[1] < 0.9 * strengths[0]
        component = (left[:, 0] * strengths[0]).reshape(result.shape)
        found = result.double().numpy()
        found = found / found.max()
        either = [(side - side.min()) / np.ptp(side) for side in (component, -component)]
        assert min(np.abs(found - side).max() for side in either) < 1e-3


@pytest.mark.parametrize("noise", [0.1, 1.0], ids=["two almost separate parts", "one part"])
def test_cut_equals_scipy_second_generalised_eigenvector(noise):
    features = planted(torch.stack([blob(), blob(rows=slice(1, 4)), blob(columns=slice(5, 9))]), noise=noise)
    maps = SpectralSaliency(mode="cut")(features)
    for each, result in zip(features.double().numpy(), maps):
        cells = each.reshape(24, -1).T
        cells = cells - cells.mean(0)
        cells /= np.linalg.norm(cells, axis=1, keepdims=True)
        affinity = np.maximum(cells @ cells.T, 1e-5)
        degree = np.diag(affinity.sum(1))
        _, vectors = linalg.eigh(degree - affinity, degree)
        second = vectors[:, 1].reshape(result.shape)
        found = result.double().numpy() / result.max().item()
        either = [(side - side.min()) / np.ptp(side) for side in (second, -second)]
        assert min(np.abs(found - side).max() for side in either) < 5e-3


@pytest.mark.parametrize("mode", ["component", "cut"])
def test_a_planted_object_is_found_in_features_with_a_strong_mean(mode):
    masks = torch.stack([blob(), blob(rows=slice(1, 4)), blob(columns=slice(5, 9)), blob(rows=slice(0, 3))])
    features = planted(masks)
    maps, trust = SpectralSaliency(mode)(features), SpectralSaliency(mode).estimate(features).trust
    for mask, found in zip(masks, maps):
        assert found[mask].min() > 2 * found[~mask].max()
    assert trust[:3].eq(1).all()
    # the trap that centring avoids: the main direction of uncentred features is their mean, object or not
    cells = features[0].flatten(1).T
    main = torch.linalg.svd(cells, full_matrices=False).U[:, 0].abs().view(masks[0].shape)
    assert main.std() < 0.1 * main.mean()


def test_an_image_does_not_depend_on_its_batch():
    features = planted(torch.stack([blob(), blob(rows=slice(1, 4))]))
    together = SpectralSaliency()(features)
    torch.testing.assert_close(together[1:], SpectralSaliency()(features[1:]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mode", ["component", "cut"])
@pytest.mark.parametrize("level", [0.0, 0.3, 1e4])
def test_features_without_variation_give_an_even_untrusted_map(mode, level):
    features = torch.full((2, 24, 8, 10), level)
    features[1] = planted(blob()[None])[0]
    maps, trust = SpectralSaliency(mode).estimate(features)
    assert maps[0].eq(0).all()
    assert trust.tolist() == [0, 1]
    assert maps[1].amax() > 0


def test_variation_of_rounding_noise_is_none():
    generator = torch.Generator().manual_seed(0)
    levels = torch.rand(1, 24, 1, 1, generator=generator) + 1
    features = levels * (1 + 6e-8 * torch.randn(1, 24, 8, 10, generator=generator))
    assert features.std((2, 3)).amax() > 0
    maps, trust = SpectralSaliency().estimate(features)
    assert maps.eq(0).all()
    assert trust.item() == 0


def test_leading_eigenvectors_equal_numpy():
    generator = np.random.default_rng(0)
    matrices = []
    for top in (1.0, 1e-6, 1e6):
        basis, _ = np.linalg.qr(generator.normal(size=(30, 30)))
        matrices.append(basis @ np.diag(top * np.concatenate([[1, 0.98], generator.random(28) * 0.9])) @ basis.T)
    found = leading_eigenvectors(torch.tensor(np.stack(matrices)).float()).double().numpy()
    for matrix, vector in zip(matrices, found):
        expected = np.linalg.eigh(matrix)[1][:, -1]
        assert abs(vector @ expected) > 1 - 1e-5
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert leading_eigenvectors(torch.zeros(1, 4, 4)).eq(0).all()


def test_two_equal_eigenvalues_give_a_vector_of_their_plane():
    found = leading_eigenvectors(torch.diag(torch.tensor([2.0, 2.0, 1.0]))[None])[0]
    assert found.norm().item() == pytest.approx(1)
    assert found[2].abs().item() < 1e-6


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_small_central_object_is_made_positive_with_full_trust(sign):
    mask = blob()
    signed = torch.where(mask, 3.0, -1.0)[None]
    oriented = orient_maps(sign * signed)
    assert torch.equal(oriented.maps, signed)
    assert oriented.trust.tolist() == [1]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_small_thing_on_the_border_is_distrusted(sign):
    mask = torch.ones(8, 10, dtype=torch.bool)
    mask[1:-1, 1:-1] = False
    mask[0] = False
    signed = torch.where(mask, 3.0, -1.0)[None]
    oriented = orient_maps(sign * signed)
    assert oriented.trust.item() == pytest.approx(DISAGREEMENT_TRUST)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_large_central_object_is_found_by_the_border_but_distrusted(sign):
    mask = blob(9, 9, slice(1, 8), slice(1, 8))
    signed = torch.where(mask, 1.0, -2.0)[None]
    oriented = orient_maps(sign * signed)
    assert torch.equal(oriented.maps, signed)
    assert oriented.trust.item() == pytest.approx(DISAGREEMENT_TRUST)


def test_a_map_without_inside_is_decided_by_area_alone():
    oriented = orient_maps(torch.tensor([[[-3.0, 1.0], [1.0, 1.0]]]))
    assert oriented.maps.tolist() == [[[3.0, -1.0], [-1.0, -1.0]]]
    assert oriented.trust.tolist() == [1]


def test_votes_that_say_nothing_leave_the_sign_untrusted():
    maps = torch.zeros(2, 5, 5)
    maps[1] = torch.arange(25.0).view(5, 5) - 12
    oriented = orient_maps(maps)
    assert torch.equal(oriented.maps, maps)
    assert oriented.trust.tolist() == [0, 0]


def test_another_mode_is_refused():
    with pytest.raises(InputError, match="mode='svd'"):
        SpectralSaliency(mode="svd")
