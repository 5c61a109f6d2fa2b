"""Pretraining methods."""
from .byol import BYOL
from .momentum import MomentumTwoView
from .scrl import SCRL

__all__ = ["BYOL", "SCRL", "MomentumTwoView"]
