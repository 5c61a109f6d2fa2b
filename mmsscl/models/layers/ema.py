"""The moving average that makes the target network: its schedule and its update."""
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmsscl.errors import InputError


def cosine_momentum(step: int, total_steps: int, base: float, final: float = 1.0) -> float:
    """Momentum at an optimizer step: from ``base`` to ``final`` along half a cosine (BYOL, section 3.3).

    ``final - (final - base) * (1 + cos(pi * step / total_steps)) / 2``.

    Args:
        step: Optimizer steps already taken, 0 to ``total_steps``.
        total_steps: Optimizer steps of the whole run, at least 1.
        base: Momentum at step 0, in [0, 1].
        final: Momentum at ``total_steps``, in [0, 1].

    Returns:
        The momentum, a Python float.

    Raises:
        InputError: An argument out of its range.

    Example:
        >>> cosine_momentum(50, 100, base=0.99)
        0.995
    """
    if total_steps < 1:
        raise InputError(f"cosine_momentum: total_steps={total_steps!r} must be at least 1.")
    if not 0 <= step <= total_steps:
        raise InputError(f"cosine_momentum: step={step!r} is outside 0..{total_steps} (total_steps).")
    for name, value in (("base", base), ("final", final)):
        if not 0.0 <= value <= 1.0:
            raise InputError(f"cosine_momentum: {name}={value!r} must lie in [0, 1].")
    return final - (final - base) * (1.0 + math.cos(math.pi * step / total_steps)) / 2.0


@torch.no_grad()
def update_average(average: Sequence[Tensor], current: Sequence[Tensor], momentum: float) -> None:
    """Move ``average`` towards ``current`` in place: ``average = momentum * average + (1 - momentum) * current``.

    A handful of fused kernels for all tensors together, no device sync.

    Args:
        average: Tensors to update.
        current: Tensors of the same shapes, in the same order.
        momentum: Share that stays, in [0, 1].

    Raises:
        InputError: Momentum out of range, or lists of different lengths.
    """
    if not 0.0 <= momentum <= 1.0:
        raise InputError(f"update_average: momentum={momentum!r} must lie in [0, 1].")
    if len(average) != len(current):
        raise InputError(f"update_average: {len(average)} tensors to update, but {len(current)} to take from.")
    torch._foreach_lerp_(list(average), list(current), 1.0 - momentum)
