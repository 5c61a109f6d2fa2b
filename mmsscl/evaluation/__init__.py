"""What a pretraining's features and maps are worth, measured."""
from mmsscl.evaluation.saliency_quality import BoxQuality, MaskQuality, enlarge_map, stretch

__all__ = ["BoxQuality", "MaskQuality", "enlarge_map", "stretch"]
