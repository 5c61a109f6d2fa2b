"""Pretraining methods."""
from .byol import BYOL
from .momentum import MomentumTwoView
from .scrl import SCRL
from .sgcl import SGCL

__all__ = ["BYOL", "SCRL", "SGCL", "MomentumTwoView"]
