import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from mmsscl.datasets.transforms.integral_image import MapIntegral


def random_boxes(size: tuple[int, int], count: int = 50, seed: int = 0, whole: bool = False) -> np.ndarray:
    corners = np.random.default_rng(seed).random((count, 2, 2)) * size[::-1]
    if whole:
        corners = np.floor(corners)
    low, high = corners.min(1), corners.max(1)
    return np.concatenate([low, high + (1 if whole else 0)], axis=1)


@pytest.mark.parametrize("shape", [(14, 14), (3, 5), (5, 3), (1, 1)])
def test_mean_is_the_average_of_the_upsampled_map(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(1).random(shape).astype(np.float32)
    pixels = np.kron(values.astype(np.float64), np.ones((7, 4)))
    boxes = random_boxes(pixels.shape, whole=True)
    expected = [pixels[y1:y2, x1:x2].mean() for x1, y1, x2, y2 in boxes.astype(int)]
    np.testing.assert_allclose(MapIntegral(values).means(boxes, pixels.shape), expected, rtol=1e-12)


@pytest.mark.parametrize("size", [(480, 640), (1, 5000), (6000, 200), (7, 3)])
@pytest.mark.parametrize("shape", [(14, 14), (9, 16)])
def test_sums_are_bilinear_look_ups_in_a_summed_area_table(shape: tuple[int, int], size: tuple[int, int]) -> None:
    values = np.random.default_rng(2).random(shape).astype(np.float32)
    table = np.pad(np.cumsum(np.cumsum(values.astype(np.float64), 0), 1), ((1, 0), (1, 0)))
    edges = [np.linspace(0, length, cells + 1) for length, cells in zip(size, shape)]
    look_up = RegularGridInterpolator(edges, table)
    boxes = random_boxes(size, seed=3)
    x1, y1, x2, y2 = boxes.T
    corners = [look_up(np.stack([y, x], axis=1)) for y, x in ((y2, x2), (y1, x2), (y2, x1), (y1, x1))]
    expected = corners[0] - corners[1] - corners[2] + corners[3]
    np.testing.assert_allclose(MapIntegral(values).sums(boxes, size), expected, rtol=1e-9, atol=1e-11)


def test_score_is_root_of_mean_times_share_of_the_mass() -> None:
    values = np.random.default_rng(4).random((6, 6)).astype(np.float32)
    pixels = np.kron(values.astype(np.float64), np.ones((10, 10)))
    boxes = random_boxes(pixels.shape, whole=True)
    inside = [pixels[y1:y2, x1:x2] for x1, y1, x2, y2 in boxes.astype(int)]
    expected = [part.mean() ** 0.5 * (part.sum() / pixels.sum()) ** 0.5 for part in inside]
    scores = MapIntegral(values).scores(boxes, pixels.shape)
    np.testing.assert_allclose(scores, expected, rtol=1e-12)
    assert 0 <= scores.min() < scores.max() <= 1
    ones = MapIntegral(np.ones((6, 6), np.float32)).scores(np.array([[0.0, 0, 60, 60], [0, 0, 30, 30]]), (60, 60))
    np.testing.assert_allclose(ones, [1.0, 0.5])


def test_zeros_divide_nothing() -> None:
    blank = MapIntegral(np.zeros((14, 14), np.float32))
    boxes = np.array([[0.0, 0, 100, 100], [5, 5, 5, 50], [99, 99, 100, 100]])
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(blank.means(boxes, (100, 100)), 0)
        np.testing.assert_array_equal(blank.scores(boxes, (100, 100)), 0)
        lit = MapIntegral(np.ones((14, 14), np.float32))
        np.testing.assert_allclose(lit.means(boxes, (100, 100)), [1, 0, 1])
        assert lit.scores(boxes, (100, 100))[1] == 0


def test_what_lies_outside_the_image_adds_nothing() -> None:
    values = np.random.default_rng(5).random((4, 4)).astype(np.float32)
    sums = MapIntegral(values).sums(np.array([[-50.0, -50, 150, 150], [100, 0, 200, 100]]), (100, 100))
    np.testing.assert_allclose(sums, [values.sum(dtype=np.float64), 0])
