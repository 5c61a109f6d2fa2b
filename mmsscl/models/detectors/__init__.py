"""Parts of mmdet detectors; imported by transfer configs only, as they need mmdet."""
from mmsscl.models.detectors.c4_faster_rcnn import C4FasterRCNN
from mmsscl.models.detectors.res_layer_extra_norm import ResLayerExtraNorm

__all__ = ["C4FasterRCNN", "ResLayerExtraNorm"]
