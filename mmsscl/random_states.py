"""The state of every generator that training may draw from."""
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size


@dataclass(frozen=True)
class RandomStates:
    """The random states of one process.

    Attributes:
        python: Of ``random``.
        numpy: Of numpy's global generator.
        cpu: Of torch's generator on the CPU, uint8.
        cuda: Of the process's current GPU, uint8; ``None`` without one.
    """

    python: Any
    numpy: Any
    cpu: torch.Tensor
    cuda: torch.Tensor | None

    @classmethod
    def take(cls) -> "RandomStates":
        """Those of this process, now."""
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda)

    def put_back(self) -> None:
        """Set this process's generators. A GPU's state is left out where there is none, here or there."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.cpu.cpu())
        if self.cuda is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.cuda.cpu())


def gather_random_states() -> list[dict[str, Any]]:
    """Those of all processes, by rank, as a checkpoint keeps them: some 10 kB each. A collective."""
    gathered: list[dict[str, Any]] = all_gather_object(vars(RandomStates.take()))
    return gathered


def own_random_states(saved: Sequence[dict[str, Any]] | None) -> RandomStates | None:
    """This process's part of what :func:`gather_random_states` gave; ``None`` where another number of processes did."""
    if not saved or len(saved) != get_world_size():
        return None
    return RandomStates(**saved[get_rank()])
