from mmsscl.structures.photometric import (
    JITTER_OPS,
    JITTER_ORDERS,
    NUM_PHOTOMETRIC,
    SOLARIZE_OFF,
    PhotometricColumn,
    identity_photometric,
)
from mmsscl.structures.saliency_map import SaliencyMap
from mmsscl.structures.view_geometry import ViewGeometry

__all__ = [
    "JITTER_OPS",
    "JITTER_ORDERS",
    "NUM_PHOTOMETRIC",
    "SOLARIZE_OFF",
    "PhotometricColumn",
    "SaliencyMap",
    "ViewGeometry",
    "identity_photometric",
]
