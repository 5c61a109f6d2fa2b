"""When maps are made anew, and how much they count."""
from mmsscl.errors import InputError


class SaliencySchedule:
    """Warm-up, ramp and interval of saliency over the epochs of a run, counted from 0.

    A network at the start of training has no maps worth following: the first ``warmup_epochs`` epochs train without.
    Before epoch ``warmup_epochs`` comes the first refresh, then one every ``interval`` epochs, none before the last epoch,
    which would repay too little of its cost. From the first refresh on the strength grows linearly, to its full value in
    the ``ramp_epochs``-th epoch that has maps. The constants are ours; the paper's schedule is not public.

    Args:
        warmup_epochs: Epochs without maps, from 0.
        ramp_epochs: Epochs over which the strength grows, from 0 (0 or 1: full strength at once).
        interval: Epochs between refreshes, from 1.
        max_epochs: Epochs of the run.
        strength: What the ramp grows to, in [0, 1]; 0 makes maps that nothing follows: training is that without saliency,
            bit for bit.

    Raises:
        InputError: A number of epochs that is not whole, or a value outside its range.

    Example:
        >>> schedule = SaliencySchedule(warmup_epochs=2, ramp_epochs=4, interval=3, max_epochs=9)
        >>> [epoch for epoch in range(9) if schedule.refreshes_at(epoch)]
        [2, 5]
        >>> [schedule.strength(epoch) for epoch in range(7)]
        [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def __init__(
        self, warmup_epochs: int, ramp_epochs: int, interval: int, max_epochs: int, strength: float = 1.0
    ) -> None:
        for name, value, least in (
            ("warmup_epochs", warmup_epochs, 0),
            ("ramp_epochs", ramp_epochs, 0),
            ("interval", interval, 1),
            ("max_epochs", max_epochs, 1),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"saliency schedule: {name}={value!r} must be a whole number of epochs from {least}.")
        if not 0 <= strength <= 1:
            raise InputError(f"saliency schedule: strength={strength!r} must lie in [0, 1].")
        self.warmup_epochs = warmup_epochs
        self.ramp_epochs = ramp_epochs
        self.interval = interval
        self.max_epochs = max_epochs
        self.full_strength = float(strength)

    @property
    def refreshes(self) -> list[int]:
        """The epochs that begin with a refresh; empty where the warm-up takes (all but the last epoch of) the run."""
        return list(range(self.warmup_epochs, self.max_epochs - 1, self.interval))

    def refreshes_at(self, epoch: int) -> bool:
        """Whether the maps are made anew before this epoch."""
        since = epoch - self.warmup_epochs
        return since >= 0 and since % self.interval == 0 and epoch < self.max_epochs - 1

    def strength(self, epoch: int) -> float:
        """How much saliency counts in this epoch, in [0, 1]; 0 in the warm-up and in runs that never refresh."""
        if epoch < self.warmup_epochs or not self.refreshes:
            return 0.0
        return self.full_strength * min(1.0, (epoch - self.warmup_epochs + 1) / max(self.ramp_epochs, 1))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(warmup_epochs={self.warmup_epochs}, ramp_epochs={self.ramp_epochs}, "
            f"interval={self.interval}, max_epochs={self.max_epochs}, strength={self.full_strength})"
        )
