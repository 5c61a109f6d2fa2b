"""Heads: vectors in, losses out."""
from .region_predict_head import RegionPredictHead
from .weighted_contrastive_head import WeightedContrastiveHead
from .weighted_predict_head import WeightedPredictHead

__all__ = ["RegionPredictHead", "WeightedContrastiveHead", "WeightedPredictHead"]
