import numpy as np
import pytest
import torch
from scipy import stats

from mmsscl.errors import InputError
from mmsscl.saliency import average_mirrored, entropy_trust, normalise_maps, resize_maps


def random_maps(count=5, height=7, width=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, height, width, generator=generator) ** 3 * 40 - 5


@pytest.mark.parametrize(("low", "high"), [(0.01, 0.99), (0.0, 1.0), (0.2, 0.55)])
def test_normalising_equals_numpy_percentiles(low, high):
    raw = random_maps()
    expected = []
    for each in raw.double().numpy():
        floor, ceiling = np.percentile(each, [100 * low, 100 * high])
        expected.append((np.clip(each, floor, ceiling) - floor) / (ceiling - floor))
    result = normalise_maps(raw, low, high)
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-5)
    assert result.flatten(1).amin(1).eq(0).all()
    assert result.flatten(1).amax(1).eq(1).all()


@pytest.mark.parametrize("value", [0.0, 3.0, -2e5, 1e-20])
def test_a_map_of_equal_values_is_half_and_untrusted(value):
    maps = normalise_maps(torch.cat([torch.full((1, 4, 4), value), random_maps(1, 4, 4)]))
    assert maps[0].eq(0.5).all()
    assert maps[1].amax() == 1
    trust = entropy_trust(maps)
    assert trust[0] == 0
    assert trust[1] > 0


def test_rounding_noise_is_no_contrast():
    noise = torch.tensor([1.0, 1.0 + 1.2e-7, 1.0 - 6e-8, 1.0]).view(1, 2, 2)
    assert normalise_maps(100 * noise).eq(0.5).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_spoils_its_own_map_only(bad):
    raw = random_maps(2)
    expected = normalise_maps(raw[1:])
    raw[0, 2, 3] = bad
    maps = normalise_maps(raw)
    assert maps[0].eq(0.5).all()
    assert torch.equal(maps[1:], expected)


def test_a_peak_of_one_cell_survives_the_percentiles():
    raw = torch.full((1, 14, 14), 2.0)
    raw[0, 3, 5] = 7.0
    maps = normalise_maps(raw)
    assert maps[0, 3, 5] == 1
    assert maps.sum() == 1


def test_a_map_of_one_cell_and_an_empty_batch():
    assert normalise_maps(torch.tensor([[[4.0]]])).item() == 0.5
    assert entropy_trust(torch.tensor([[[0.7]]])).item() == 0
    assert normalise_maps(torch.zeros(0, 3, 3)).shape == (0, 3, 3)
    assert entropy_trust(torch.zeros(0, 3, 3)).shape == (0,)


def test_normalising_takes_bfloat16_and_returns_detached_float32():
    raw = random_maps().bfloat16().requires_grad_()
    maps = normalise_maps(raw)
    assert maps.dtype == torch.float32
    assert not maps.requires_grad
    torch.testing.assert_close(maps, normalise_maps(raw.detach().float()))
    assert not entropy_trust(maps.requires_grad_()).requires_grad


def test_trust_equals_scipy_entropy():
    maps = normalise_maps(random_maps(6))
    expected = [
        np.clip((1 - np.exp(stats.entropy(each.ravel())) / each.size) / 0.5, 0, 1) for each in maps.double().numpy()
    ]
    assert 0 < min(expected) < 1
    np.testing.assert_allclose(entropy_trust(maps).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("covered", "trust"), [(0.25, 1.0), (0.5, 1.0), (0.75, 0.5), (0.9, 0.2)])
@pytest.mark.parametrize("shape", [(10, 10), (20, 40)])
def test_trust_of_an_object_that_covers_a_share(covered, trust, shape):
    maps = torch.zeros(1, *shape)
    maps.view(-1)[: round(covered * maps.numel())] = 1
    assert entropy_trust(maps).item() == pytest.approx(trust, abs=1e-5)
    assert entropy_trust(0.1 * maps).item() == pytest.approx(trust, abs=1e-5)


def test_trust_of_a_ramp_is_the_documented_one_and_of_zeros_none():
    ramp = torch.linspace(0, 1, 10_000).view(1, 100, 100)
    assert entropy_trust(ramp).item() == pytest.approx(0.35, abs=0.005)
    assert entropy_trust(torch.zeros(1, 5, 5)).item() == 0


def test_mirrored_maps_are_turned_back():
    maps = random_maps(2)
    torch.testing.assert_close(average_mirrored(maps, maps.flip(2)), maps)
    turned = average_mirrored(torch.zeros(1, 1, 3), torch.tensor([[[2.0, 0.0, 0.0]]]))
    assert turned.tolist() == [[[0.0, 0.0, 1.0]]]


def test_shrinking_is_the_mean_of_blocks():
    maps = random_maps(2, 6, 12)
    expected = maps.view(2, 3, 2, 4, 3).mean((2, 4))
    torch.testing.assert_close(resize_maps(maps, (3, 4)), expected)
    assert resize_maps(maps, 4)[1, 1, 2].item() == pytest.approx(maps[1, 1:3, 6:9].mean().item())


def test_growing_is_linear_between_cell_centres():
    maps = random_maps(1, 4, 5)
    result = resize_maps(maps, (8, 15))[0].double().numpy()
    values = maps[0].double().numpy()
    rows = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3)
    columns = np.clip((np.arange(15) + 0.5) / 3 - 0.5, 0, 4)
    across = np.stack([np.interp(columns, np.arange(5), row) for row in values])
    expected = np.stack([np.interp(rows, np.arange(4), column) for column in across.T], 1)
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_an_axis_may_shrink_while_the_other_grows():
    maps = random_maps(2, 8, 3)
    torch.testing.assert_close(resize_maps(maps, (4, 9)), resize_maps(maps.view(2, 4, 2, 3).mean(2), (4, 9)))
    assert torch.equal(resize_maps(maps, (8, 3)), maps)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: normalise_maps(torch.zeros(3, 3)), r"\(3, 3\)"),
        (lambda: normalise_maps(torch.zeros(1, 0, 3)), "at least 1"),
        (lambda: normalise_maps(torch.zeros(1, 3, 3), 0.9, 0.1), "low=0.9"),
        (lambda: entropy_trust(torch.zeros(1, 1, 3, 3)), "entropy_trust"),
        (lambda: resize_maps(torch.zeros(1, 3, 3), 0), "size=0"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(InputError, match=match):
        call()
