"""AlexNet's lighting on uint8 images, within their range."""
import numpy as np
import pytest

from mmsscl.datasets.transforms import ClippedLighting
from mmsscl.errors import InputError


def test_shifts_follow_the_principal_components_and_stay_in_range():
    # Krizhevsky's components in red, green, blue, as torch code has them, on the scale 0..1
    values = np.array([0.2175, 0.0188, 0.0045])
    components = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    image = np.full((3, 4, 3), 128, np.uint8)
    np.random.seed(3)
    found = ClippedLighting(0.5).transform({"img": image.copy()})["img"]
    np.random.seed(3)
    shift = 255 * components @ (np.random.normal(0, 0.5, 3) * values)
    np.testing.assert_allclose(found[0, 0, ::-1], 128 + shift, atol=0.51)
    assert found.dtype == np.uint8
    assert (found == found[0, 0]).all()
    assert abs(shift).max() > 2


@pytest.mark.parametrize("value", [0, 255])
def test_white_and_black_do_not_wrap(value):
    for seed in range(20):
        np.random.seed(seed)
        found = ClippedLighting().transform({"img": np.full((2, 2, 3), value, np.uint8)})["img"]
        assert abs(found.astype(int) - value).max() < 40


def test_no_deviation_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(ClippedLighting(0).transform({"img": image.copy()})["img"], image)


@pytest.mark.parametrize("deviation", [-1, float("nan")])
def test_a_negative_deviation_is_refused(deviation):
    with pytest.raises(InputError, match="deviation="):
        ClippedLighting(deviation)
