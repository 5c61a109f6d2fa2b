"""What drives a training run: hooks and optimizers."""
from . import hooks, optimizers

__all__ = ["hooks", "optimizers"]
