"""What a pretraining's features and maps are worth, measured."""
from mmsscl.evaluation.saliency_quality import BoxQuality, MaskQuality, enlarge_map, stretch
from mmsscl.evaluation.stage_accuracy import StageAccuracy

__all__ = ["BoxQuality", "MaskQuality", "StageAccuracy", "enlarge_map", "stretch"]
