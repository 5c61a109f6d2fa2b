import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import RandomResizedCrop

from mmsscl.datasets.transforms import CropLaw, RandomAreaCrop, WholeImage
from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS


def draw(law: CropLaw, size: tuple[int, int], count: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    crops = np.stack([law.sample(size, generator) for _ in range(count)])
    assert crops.dtype == np.float32
    return crops.astype(np.float64)


@pytest.mark.parametrize(
    ("size", "area"), [((480, 640), (0.2, 1.0)), ((500, 375), (0.08, 1.0)), ((300, 1000), (0.5, 1.0))]
)
def test_same_distribution_as_torchvision(size: tuple[int, int], area: tuple[float, float]) -> None:
    count = 1500
    ours = draw(RandomAreaCrop(area=area), size, count)
    torch.manual_seed(0)
    blank = torch.empty(3, *size)
    theirs = np.array([RandomResizedCrop.get_params(blank, list(area), [3 / 4, 4 / 3]) for _ in range(count)])
    theirs = theirs[:, [1, 0, 3, 2]]  # i, j, h, w -> x, y, w, h
    x, y, w, h = ours[:, :4].T
    columns = [*ours[:, :4].T, w * h, w / h, size[1] - x - w, size[0] - y - h]
    x, y, w, h = theirs.T
    references = [*theirs.T, w * h, w / h, size[1] - x - w, size[0] - y - h]
    for column, reference in zip(columns, references):
        assert stats.ks_2samp(column, reference).pvalue > 1e-3


def test_flip_is_a_coin_of_the_given_weight_and_independent_of_the_crop() -> None:
    crops = draw(RandomAreaCrop(flip=0.3), (480, 640), 3000)
    assert abs(crops[:, 4].mean() - 0.3) < 0.03
    assert set(np.unique(crops[:, 4])) == {0.0, 1.0}
    assert stats.ks_2samp(crops[crops[:, 4] == 1, 2], crops[crops[:, 4] == 0, 2]).pvalue > 1e-3
    assert not draw(RandomAreaCrop(flip=0.0), (48, 64), 50)[:, 4].any()
    assert draw(RandomAreaCrop(flip=1.0), (48, 64), 50)[:, 4].all()


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (2, 3), (7, 5), (31, 33), (6000, 8000)])
def test_whole_pixels_inside_images_of_any_size(size: tuple[int, int]) -> None:
    crops = draw(RandomAreaCrop(area=(0.001, 1.0)), size, 200)
    assert crops.shape == (200, 5)
    x, y, w, h, _ = crops.T
    np.testing.assert_array_equal(crops, np.round(crops))
    assert min(x.min(), y.min()) >= 0
    assert min(w.min(), h.min()) >= 1
    assert (x + w).max() <= size[1]
    assert (y + h).max() <= size[0]


@pytest.mark.parametrize(("size", "expected"), [((100, 1000), (433, 0, 133, 100)), ((1000, 100), (0, 433, 100, 133))])
def test_fallback_is_the_central_crop_at_the_nearest_ratio(size: tuple, expected: tuple) -> None:
    np.testing.assert_array_equal(draw(RandomAreaCrop(area=(0.9, 1.0)), size, 5)[:, :4], [expected] * 5)


def test_a_sample_takes_as_many_draws_whatever_the_image() -> None:
    states = []
    for size in ((480, 640), (10, 1000), (1, 1)):
        generator = np.random.default_rng(3)
        RandomAreaCrop().sample(size, generator)
        states.append(generator.random())
    assert len(set(states)) == 1


def test_whole_image_and_building_by_name() -> None:
    np.testing.assert_array_equal(draw(WholeImage(), (30, 40), 2), [[0, 0, 40, 30, 0]] * 2)
    law = TRANSFORMS.build({"type": "RandomAreaCrop", "area": (0.08, 1.0)})
    assert isinstance(law, RandomAreaCrop)
    assert law.area == (0.08, 1.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"area": (0, 1)}, "area"),
        ({"area": (0.5, 0.2)}, "area"),
        ({"area": (0.2, 1.5)}, "area"),
        ({"area": (0.2,)}, "area"),
        ({"ratio": (2, 1)}, "ratio"),
        ({"ratio": (-1, 1)}, "ratio"),
        ({"flip": 1.2}, "flip"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        RandomAreaCrop(**arguments)
