import pytest

from mmsscl.errors import InputError
from mmsscl.saliency.schedule import SaliencySchedule


def walk(warmup, ramp, interval, epochs):
    """The schedule as a run would live through it: counters, no formula."""
    refreshes, strengths, with_maps, until_next = [], [], 0, 0
    for epoch in range(epochs):
        if epoch >= warmup:
            if until_next == 0 and epoch != epochs - 1:
                refreshes.append(epoch)
                until_next = interval
            until_next = max(0, until_next - 1)
        if refreshes:
            with_maps += 1
        strengths.append(1.0 if refreshes and ramp < 2 else min(1.0, with_maps / max(ramp, 1)))
    return refreshes, strengths


@pytest.mark.parametrize(
    ("warmup", "ramp", "interval", "epochs"),
    [(2, 4, 3, 9), (0, 0, 1, 4), (1, 1, 2, 6), (20, 20, 40, 800), (3, 10, 2, 8), (0, 3, 100, 5), (7, 2, 1, 8), (9, 2, 1, 8),
     (0, 1, 1, 1), (6, 2, 1, 8)],
)  # fmt: skip
def test_equals_a_run_lived_through(warmup, ramp, interval, epochs):
    schedule = SaliencySchedule(warmup, ramp, interval, epochs)
    refreshes, strengths = walk(warmup, ramp, interval, epochs)
    assert [epoch for epoch in range(epochs) if schedule.refreshes_at(epoch)] == refreshes == schedule.refreshes
    assert [schedule.strength(epoch) for epoch in range(epochs)] == pytest.approx(strengths)
    assert not schedule.refreshes_at(epochs - 1)


def test_a_run_that_never_refreshes_has_no_strength():
    schedule = SaliencySchedule(warmup_epochs=3, ramp_epochs=2, interval=1, max_epochs=4)
    assert schedule.refreshes == []
    assert [schedule.strength(epoch) for epoch in range(6)] == [0.0] * 6


def test_first_epoch_with_maps_already_counts():
    schedule = SaliencySchedule(5, 10, 5, 100)
    assert schedule.strength(4) == 0
    assert schedule.strength(5) == pytest.approx(0.1)
    assert schedule.strength(14) == 1 == schedule.strength(99)
    assert schedule.strength(13) < 1


@pytest.mark.parametrize(
    "values", [(-1, 1, 1, 2), (0, -1, 1, 2), (0, 1, 0, 2), (0, 1, 1, 0), (0.5, 1, 1, 2), (0, 1, True, 2), (0, "2", 1, 2)]
)
def test_values_out_of_range_are_refused(values):
    with pytest.raises(InputError, match=r"saliency schedule: .* must be a whole number"):
        SaliencySchedule(*values)


def test_full_strength_scales_the_ramp():
    half = SaliencySchedule(1, 4, 2, 9, strength=0.5)
    assert [half.strength(epoch) for epoch in range(6)] == [0.0, 0.125, 0.25, 0.375, 0.5, 0.5]
    assert SaliencySchedule(1, 4, 2, 9, strength=0.0).strength(8) == 0
    for value in (-0.1, 1.1):
        with pytest.raises(InputError, match=r"strength=.* must lie in \[0, 1\]"):
            SaliencySchedule(1, 4, 2, 9, strength=value)
