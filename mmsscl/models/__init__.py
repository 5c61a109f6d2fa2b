"""Algorithms and their parts."""
from mmsscl.models.data_preprocessor import PairDataPreprocessor

from . import algorithms, heads, layers, losses, necks

__all__ = ["PairDataPreprocessor", "algorithms", "heads", "layers", "losses", "necks"]
