"""DrawPhotometric: distribution, seeds, independence of the settings, messages."""
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.datasets.transforms.photometric import DrawPhotometric
from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS
from mmsscl.structures import PhotometricColumn, identity_photometric

COLUMN = PhotometricColumn
COUNT = 4000


def draw(transform: DrawPhotometric, index: int, seed: int = 0, epoch: int = 0) -> np.ndarray:
    return transform.transform({"streams": RandomStreams(seed, epoch, index)})["photometric"]


def draw_many(views: list[dict[str, Any]], count: int = COUNT) -> np.ndarray:
    transform = DrawPhotometric(views=views)
    return np.stack([draw(transform, index) for index in range(count)])


@pytest.fixture(scope="module")
def scrl() -> np.ndarray:
    """(COUNT, 2, P) drawn with SCRL's settings."""
    transform = DrawPhotometric()
    return np.stack([draw(transform, index) for index in range(COUNT)])


def test_shape_and_type() -> None:
    photometric = draw(DrawPhotometric(), 0)
    assert photometric.dtype == np.float32
    assert photometric.shape == (2, len(COLUMN))


def test_same_seed_same_parameters_other_epoch_others() -> None:
    transform = DrawPhotometric()
    np.testing.assert_array_equal(draw(transform, 3), draw(transform, 3))
    assert not np.array_equal(draw(transform, 3), draw(transform, 4))
    assert not np.array_equal(draw(transform, 3), draw(transform, 3, epoch=1))


def test_probabilities_of_scrl(scrl: np.ndarray) -> None:
    def rates(on: np.ndarray) -> list[float]:
        return on.mean(axis=0).tolist()

    tolerance = 4 * 0.5 / COUNT**0.5  # four standard errors at the worst probability
    assert rates(scrl[..., COLUMN.JITTER_ORDER] >= 0) == pytest.approx([0.8, 0.8], abs=tolerance)
    assert rates(scrl[..., COLUMN.GRAY] == 1) == pytest.approx([0.2, 0.2], abs=tolerance)
    assert rates(scrl[..., COLUMN.RESIZE_FACTOR] > 1) == pytest.approx([1.0, 0.1], abs=tolerance)
    assert rates(scrl[..., COLUMN.SOLARIZE] == 128) == pytest.approx([0.0, 0.2], abs=tolerance)
    assert (scrl[..., COLUMN.BLUR_SIGMA] == 0).all()


def test_values_are_uniform_as_in_color_jitter(scrl: np.ndarray) -> None:
    jittered = scrl[scrl[..., COLUMN.JITTER_ORDER] >= 0]
    for column, low, high in (
        (COLUMN.BRIGHTNESS, 0.6, 1.4),
        (COLUMN.CONTRAST, 0.6, 1.4),
        (COLUMN.SATURATION, 0.8, 1.2),
        (COLUMN.HUE, -0.1, 0.1),
    ):
        assert stats.kstest(jittered[:, column], "uniform", args=(low, high - low)).pvalue > 1e-3, column.name
    orders = np.bincount(jittered[:, COLUMN.JITTER_ORDER].astype(int), minlength=24)
    assert len(orders) == 24
    assert stats.chisquare(orders).pvalue > 1e-3
    factors, counts = np.unique(scrl[:, 0, COLUMN.RESIZE_FACTOR], return_counts=True)
    np.testing.assert_allclose(factors, [1.1, 1.2, 1.5], rtol=1e-6)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_factors_never_fall_below_zero() -> None:
    brightness = draw_many([{"brightness": 3.0, "jitter_prob": 1.0}, {}], 500)[:, 0, COLUMN.BRIGHTNESS]
    assert 0 <= brightness.min() < 0.2
    assert 3.8 < brightness.max() <= 4


def test_gaussian_blur_draws_sigma_only() -> None:
    rows = draw_many([{"blur": "gaussian", "sigma": (0.5, 1.0)}, {"blur": "gaussian", "blur_prob": 0.0}], 500)
    assert stats.kstest(rows[:, 0, COLUMN.BLUR_SIGMA], "uniform", args=(0.5, 0.5)).pvalue > 1e-3
    assert (rows[:, 1, COLUMN.BLUR_SIGMA] == 0).all()
    assert (rows[..., COLUMN.RESIZE_FACTOR] == 1).all()


def test_columns_are_independent_of_each_other(scrl: np.ndarray) -> None:
    jittered = scrl[(scrl[..., COLUMN.JITTER_ORDER] >= 0).all(axis=1)]
    values = np.concatenate([jittered[:, view, COLUMN.BRIGHTNESS : COLUMN.HUE + 1] for view in (0, 1)], axis=1)
    correlation = np.corrcoef(values.T) - np.eye(8)
    assert np.abs(correlation).max() < 4.5 / len(jittered) ** 0.5


def test_decisions_are_independent_of_each_other() -> None:
    half = {"jitter_prob": 0.5, "gray_prob": 0.5, "blur_prob": 0.5, "solarize_prob": 0.5}
    rows = draw_many([half, half], 2000)
    neutral = identity_photometric()
    columns = [COLUMN.JITTER_ORDER, COLUMN.GRAY, COLUMN.RESIZE_FACTOR, COLUMN.SOLARIZE]
    decisions = (rows != neutral)[..., columns].reshape(len(rows), 8)
    correlation = np.corrcoef(decisions.T) - np.eye(8)
    assert np.abs(correlation).max() < 4.5 / len(rows) ** 0.5


@pytest.mark.parametrize(
    ("changed", "columns"),
    [
        ({"jitter_prob": 0.0}, range(COLUMN.JITTER_ORDER, COLUMN.HUE + 1)),
        ({"gray_prob": 1.0}, [COLUMN.GRAY]),
        ({"blur_prob": 0.0}, [COLUMN.RESIZE_FACTOR]),
        ({"blur": "gaussian"}, [COLUMN.RESIZE_FACTOR, COLUMN.BLUR_SIGMA]),
        ({"solarize_prob": 1.0}, [COLUMN.SOLARIZE]),
        ({"hue": 0.3}, [COLUMN.HUE]),
    ],
)
def test_one_setting_changes_its_own_columns_only(changed: dict[str, Any], columns: Any) -> None:
    base = {"solarize_prob": 0.3, "gray_prob": 0.5}
    before, after = draw_many([base, base], 200), draw_many([{**base, **changed}, base], 200)
    np.testing.assert_array_equal(before[:, 1], after[:, 1])
    others = [column for column in COLUMN if column not in columns]
    np.testing.assert_array_equal(before[:, 0, others], after[:, 0, others])
    assert not np.array_equal(before[:, 0], after[:, 0])


def test_all_probabilities_zero_give_the_identity() -> None:
    off = {"jitter_prob": 0.0, "gray_prob": 0.0, "blur_prob": 0.0, "solarize_prob": 0.0}
    rows = draw_many([off, off], 50)
    assert (rows == identity_photometric()).all()


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ([{"brigthness": 0.4}, {}], r"views\[0\].*'brigthness'.*Did you mean brightness\?"),
        ([{"zebra": 1}, {}], r"unknown key 'zebra'\. Known keys: brightness"),
        ([{}, {"solarise_prob": 0.2}], r"views\[1\].*'solarise_prob'.*Did you mean solarize_prob\?"),
        ([{"hue": 0.7}, {}], r"views\[0\]\['hue'\] is 0.7.*from 0 to 0.5"),
        ([{"jitter_prob": 80}, {}], r"\['jitter_prob'\] is 80.*from 0 to 1"),
        ([{"brightness": -0.1}, {}], r"\['brightness'\] is -0.1.*at least 0"),
        ([{"brightness": "0.4"}, {}], r"\['brightness'\] is '0.4'"),
        ([{"gray_prob": float("nan")}, {}], r"\['gray_prob'\] is nan"),
        ([{"blur": "box"}, {}], r"'box'; use 'resize' or 'gaussian'"),
        ([{"resize_factors": []}, {}], r"\['resize_factors'\].*non-empty"),
        ([{"resize_factors": [0.5]}, {}], r"\['resize_factors'\]\[0\] is 0.5.*at least 1"),
        ([{"sigma": (2.0, 0.1)}, {}], r"low <= high"),
        ([{"sigma": 0.5}, {}], r"\['sigma'\] is 0.5"),
        ([{"solarize_threshold": 300}, {}], r"from 0 to 255"),
        ([{}], r"list of two dicts"),
        ([{}, None], r"views\[1\] is None"),
    ],
)
def test_bad_settings_name_the_key_and_the_remedy(views: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        DrawPhotometric(views=views)


def test_is_built_from_a_config() -> None:
    transform = TRANSFORMS.build({"type": "DrawPhotometric", "views": [{}, {"blur_prob": 0.1}]})
    assert isinstance(transform, DrawPhotometric)
    assert transform.laws[1].blur_prob == 0.1


def test_local_crops_have_a_stream_of_their_own() -> None:
    transform = DrawPhotometric()
    for count in (1, 4):
        results = {"streams": RandomStreams(0, 0, 3), "local_geometry": np.ones((count, 5), np.float32)}
        results = transform.transform(results)
        np.testing.assert_array_equal(results["photometric"], draw(transform, 3))
        assert results["local_photometric"].shape == (count, len(COLUMN))
        assert results["local_photometric"].dtype == np.float32
        assert (results["local_photometric"][0] != results["photometric"]).any(axis=1).all()
    rows = [
        transform.transform({"streams": RandomStreams(0, 0, i), "local_geometry": np.ones((8, 5), np.float32)})
        for i in range(250)
    ]
    blurred = (np.stack([row["local_photometric"] for row in rows])[..., COLUMN.RESIZE_FACTOR] > 1).mean()
    assert 0.3 < blurred < 0.55  # half of them, less those whose factor is drawn as 1


def test_local_settings() -> None:
    transform = DrawPhotometric(local={"jitter_prob": 0, "gray_prob": 0, "blur_prob": 0, "solarize_prob": 0})
    results = transform.transform({"streams": RandomStreams(0, 0, 0), "local_geometry": np.ones((2, 5), np.float32)})
    np.testing.assert_array_equal(results["local_photometric"], [identity_photometric()] * 2)
    with pytest.raises(InputError, match=r"local\['hue'\] is 3"):
        DrawPhotometric(local={"hue": 3})
