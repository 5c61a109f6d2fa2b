"""Heads: vectors in, losses out."""
from .region_predict_head import RegionPredictHead

__all__ = ["RegionPredictHead"]
