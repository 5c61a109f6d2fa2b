"""Region features for mmdet detectors; imported by transfer configs only, as it needs mmdet."""
from mmsscl.models.roi_extractors.float32_roi_extractor import Float32RoIExtractor

__all__ = ["Float32RoIExtractor"]
