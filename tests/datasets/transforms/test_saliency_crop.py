import numpy as np
import pytest
from scipy import stats

from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.datasets.transforms import RandomAreaCrop, SaliencyCrop
from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS
from mmsscl.structures.saliency_map import SaliencyMap

SIZES = [(480, 640), (1, 5000), (6000, 200), (5, 9), (1, 1)]


def saliency(values: np.ndarray, trust: float = 1.0, strength: float = 1.0, seed: int = 0) -> SaliencyMap:
    return SaliencyMap(np.asarray(values, np.float32), trust, strength, np.random.default_rng(seed))


def spot(row: int, column: int, cells: int = 14) -> np.ndarray:
    values = np.zeros((cells, cells))
    values[row, column] = 1
    return values


@pytest.mark.parametrize("size", SIZES)
def test_without_guidance_it_is_the_plain_crop_to_the_bit(size: tuple[int, int]) -> None:
    plain, guided = RandomAreaCrop(area=(0.1, 1.0)), SaliencyCrop(area=(0.1, 1.0))
    for absent in (None, saliency(spot(3, 3), trust=0.0), saliency(spot(3, 3), strength=0.0)):
        one, other = (RandomStreams(0, 0, 7).stream("crop") for _ in range(2))
        for _ in range(50):
            np.testing.assert_array_equal(plain.sample(size, one), guided.sample(size, other, absent))
        if absent is not None:
            assert absent.generator.random() == np.random.default_rng(0).random()  # untouched


def test_guidance_moves_the_crop_and_changes_nothing_else() -> None:
    plain, guided = RandomAreaCrop(), SaliencyCrop(lambda_max=1.0)
    one, other = (np.random.default_rng(1) for _ in range(2))
    crops = np.array([[plain.sample((480, 640), one), guided.sample((480, 640), other, saliency(spot(2, 2)))]
                      for _ in range(50)])  # fmt: skip
    np.testing.assert_array_equal(crops[:, 0, 2:], crops[:, 1, 2:])
    assert (crops[:, 0, :2] != crops[:, 1, :2]).any(axis=1).mean() > 0.8
    assert one.random() == other.random()


@pytest.mark.parametrize(
    ("lambda_max", "trust", "strength", "temperature", "candidates"),
    [(1.0, 1.0, 1.0, 0.1, 16), (0.7, 0.8, 0.9, 0.1, 16), (1.0, 1.0, 1.0, 0.3, 3)],
)
def test_places_follow_the_mixture_by_brute_force(lambda_max, trust, strength, temperature, candidates) -> None:
    # A crop of 4 x 4 in an image of 8 x 8 has 25 places; its map has 4 x 4 cells.
    values = np.random.default_rng(2).random((4, 4)).astype(np.float32) ** 2
    pixels = np.kron(values.astype(np.float64), np.ones((2, 2)))
    means = np.array([pixels[y : y + 4, x : x + 4].mean() for y in range(5) for x in range(5)])
    tickets = np.random.default_rng(3).integers(0, 25, (100_000, candidates))
    weights = np.exp(means[tickets] / temperature)
    weights /= weights.sum(1, keepdims=True)
    g = lambda_max * trust * strength
    weights = (1 - g) / candidates + g * weights
    expected = np.bincount(tickets.ravel(), weights.ravel(), 25) / len(tickets)

    law = SaliencyCrop((0.25, 0.25), (1.0, 1.0), 0.0, lambda_max, candidates, temperature)
    generator, count = np.random.default_rng(4), 6000
    guide = saliency(values, trust, strength)
    crops = np.array([law.sample((8, 8), generator, guide) for _ in range(count)])
    assert (crops[:, 2:4] == 4).all()
    found = np.bincount((crops[:, 1] * 5 + crops[:, 0]).astype(int), minlength=25)
    assert stats.chisquare(found, expected * count).pvalue > 1e-3
    assert stats.chisquare(found).pvalue < 1e-6  # far from uniform: the test can see


def test_a_cold_choice_takes_the_best_candidate() -> None:
    law = SaliencyCrop((0.25, 0.25), (1.0, 1.0), 0.0, 1.0, candidates=200, temperature=1e-5)
    for row, column in ((0, 0), (13, 0), (6, 11)):
        guide = saliency(spot(row, column))
        for seed in range(5):
            x, y, w, h, _ = law.sample((700, 1400), np.random.default_rng(seed), guide)
            # it reaches into the only cell that is lit, one of 100 x 50 pixels
            assert x < 100 * (column + 1)
            assert x + w > 100 * column
            assert y < 50 * (row + 1)
            assert y + h > 50 * row


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("values", [np.zeros((14, 14)), np.ones((14, 14)), spot(13, 13), np.ones((2, 9))])
def test_whole_pixels_inside_the_image(size: tuple[int, int], values: np.ndarray) -> None:
    law, generator, guide = SaliencyCrop(area=(0.01, 1.0), lambda_max=1.0), np.random.default_rng(0), saliency(values)
    with np.errstate(all="raise"):
        crops = np.array([law.sample(size, generator, guide) for _ in range(100)])
    assert crops.dtype == np.float32
    np.testing.assert_array_equal(crops, np.round(crops))
    x, y, w, h, _ = crops.T
    assert min(x.min(), y.min()) >= 0
    assert min(w.min(), h.min()) >= 1
    assert (x + w).max() <= size[1]
    assert (y + h).max() <= size[0]


def test_panoramas_leave_the_centre_for_what_is_salient() -> None:
    law = SaliencyCrop(area=(0.5, 1.0), lambda_max=1.0)
    values = np.zeros((14, 14))
    values[:, 11:] = 1
    crops = np.array([law.sample((200, 6000), np.random.default_rng(s), saliency(values, seed=s)) for s in range(60)])
    assert np.median(crops[:, 0]) > 4500
    plain = np.array([law.sample((200, 6000), np.random.default_rng(s)) for s in range(5)])
    assert set(plain[:, 0]) == {2866.0}


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_a_constant_map_gives_the_plain_law(level: float) -> None:
    law, generator, guide = SaliencyCrop(lambda_max=1.0), np.random.default_rng(5), saliency(np.full((14, 14), level))
    crops = np.array([law.sample((480, 640), generator, guide) for _ in range(2000)])
    plain = np.array([law.sample((480, 640), generator) for _ in range(2000)])
    for column in range(4):
        assert stats.ks_2samp(crops[:, column], plain[:, column]).pvalue > 1e-3


def test_takes_as_many_saliency_draws_whatever_is_chosen() -> None:
    states = set()
    for lambda_max, size in ((1e-9, (480, 640)), (1.0, (480, 640)), (1.0, (3, 400))):
        guide = saliency(spot(1, 1))
        SaliencyCrop(lambda_max=lambda_max).sample(size, np.random.default_rng(0), guide)
        states.add(guide.generator.random())
    assert len(states) == 1


def test_building_by_name() -> None:
    law = TRANSFORMS.build({"type": "SaliencyCrop", "area": (0.08, 1.0), "lambda_max": 0.5})
    assert (law.area, law.lambda_max, law.candidates) == ((0.08, 1.0), 0.5, 16)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"lambda_max": 1.5}, "lambda_max"),
        ({"candidates": 1}, "candidates"),
        ({"candidates": 4.0}, "candidates"),
        ({"temperature": 0}, "temperature"),
        ({"area": (0, 1)}, "area"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, word: str) -> None:
    with pytest.raises(InputError, match=f"SaliencyCrop.*{word}|RandomAreaCrop.*{word}"):
        SaliencyCrop(**arguments)
