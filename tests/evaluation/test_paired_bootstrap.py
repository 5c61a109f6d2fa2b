"""Intervals of differences, against scipy's bootstrap and the normal law."""
import numpy as np
import pytest
from scipy import stats

from mmsscl.errors import InputError
from mmsscl.evaluation import paired_bootstrap
from mmsscl.evaluation.paired_bootstrap import difference_lines, paired_differences


def share(sums):
    return {"share": sums[..., 0] / sums[..., 1]}


@pytest.fixture
def rows():
    """Hits and tries of two networks on 200 photos; they find the same photos hard."""
    draw = np.random.default_rng(3)
    tries = draw.integers(1, 8, 200)
    hard = draw.random(200)
    hits = {name: draw.binomial(tries, hard * most) for name, most in (("a", 0.6), ("b", 0.7))}
    return {name: np.stack([found, tries], 1).astype(float) for name, found in hits.items()}


def score_of(found):
    assert len(found) == 1
    return found[0]["scores"]["share"]


def test_the_interval_is_scipys(rows):
    def difference(photos):
        return share(rows["b"][photos].sum(-2))["share"] - share(rows["a"][photos].sum(-2))["share"]

    wanted = stats.bootstrap(
        (np.arange(200),), lambda photos, axis: difference(photos), n_resamples=20_000, method="percentile", rng=1
    )
    found = score_of(paired_differences(rows, share, draws=20_000))
    assert found["difference"] == pytest.approx(difference(np.arange(200)))
    assert (found["low"], found["high"]) == pytest.approx(tuple(wanted.confidence_interval), abs=0.002)
    assert found["low"] < found["difference"] < found["high"]


def test_the_interval_of_a_mean_is_the_normal_laws():
    values = np.random.default_rng(0).normal(size=(2, 4000))
    found = paired_differences(
        {"a": values[0, :, None], "b": values[1, :, None]}, lambda sums: {"mean": sums[..., 0] / 4000}, draws=8000
    )[0]["scores"]["mean"]
    change = values[1] - values[0]
    error = change.std() / np.sqrt(4000)
    wanted = [change.mean() - 1.96 * error, change.mean() + 1.96 * error]
    assert [found["low"], found["high"]] == pytest.approx(wanted, abs=0.1 * error)


def test_photos_are_the_same_for_both(rows):
    """Networks that find the same photos hard differ less surely than their own figures, unpaired, would say."""
    found = score_of(paired_differences(rows, share))
    shuffled = rows | {"b": np.random.default_rng(0).permutation(rows["b"])}
    apart = score_of(paired_differences(shuffled, share))
    assert found["high"] - found["low"] < 0.8 * (apart["high"] - apart["low"])
    same = score_of(paired_differences({"a": rows["a"], "again": rows["a"]}, share))
    assert same == {"difference": 0, "low": 0, "high": 0}


def test_draws_in_parts_and_of_a_seed(rows, monkeypatch):
    found = paired_differences(rows, share, draws=50)
    assert (found[0]["name"], found[0]["from"], found[0]["photos"], found[0]["draws"]) == ("b", "a", 200, 50)
    assert paired_differences(rows, share, draws=50, seed=1) != found
    monkeypatch.setattr(paired_bootstrap, "_MOST_COUNTS", 200 * 7)
    again = score_of(paired_differences(rows, share, draws=50))
    assert again == pytest.approx(score_of(found))


def test_one_network_has_no_difference(rows):
    assert paired_differences({"a": rows["a"]}, share) == []
    assert difference_lines([], ["share"]) == []


def test_lines(rows):
    found = paired_differences(rows | {"longer name": rows["a"]}, share)
    lines = difference_lines(found, ["share"])
    assert lines[0] == "difference from a [95 % of 2000 resamplings of the 200 photos]:"
    assert lines[1].split() == ["share"]
    assert lines[3].split() == ["longer", "name", "+0.0000", "[+0.0000,", "+0.0000]"]
    assert len({len(line) for line in lines[1:]}) == 1
    assert difference_lines(found, ["share"], decimals=2)[3].split()[2] == "+0.00"
    found[0]["scores"]["share"]["low"] = None
    assert difference_lines(found, ["share"])[2].split() == ["b", "-"]


@pytest.mark.parametrize("photos", [(3, 4), (0, 0)])
def test_networks_on_other_photos(photos):
    rows = {name: np.ones((count, 2)) for name, count in zip("ab", photos, strict=True)}
    with pytest.raises(InputError, match=r"photos cannot be compared. Score them on the same ones"):
        paired_differences(rows, share)
