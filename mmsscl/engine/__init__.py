"""What drives a training run: hooks, loops and optimizers."""
from . import hooks, loops, optimizers

__all__ = ["hooks", "loops", "optimizers"]
