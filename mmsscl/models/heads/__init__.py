"""Heads: vectors in, losses out."""
from .region_predict_head import RegionPredictHead
from .stage_linear_heads import StageLinearHeads
from .weighted_contrastive_head import WeightedContrastiveHead
from .weighted_predict_head import WeightedPredictHead

__all__ = ["RegionPredictHead", "StageLinearHeads", "WeightedContrastiveHead", "WeightedPredictHead"]
