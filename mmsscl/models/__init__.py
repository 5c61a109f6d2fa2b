"""Algorithms and their parts."""
from mmsscl.models.data_preprocessor import PairDataPreprocessor
from mmsscl.saliency import estimators

from . import algorithms, heads, layers, losses, necks

__all__ = ["PairDataPreprocessor", "algorithms", "estimators", "heads", "layers", "losses", "necks"]
