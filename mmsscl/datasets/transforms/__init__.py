from mmsscl.datasets.transforms.boxes import BoxLaw, FreeBoxes, GridBoxes, WholeViewBox
from mmsscl.datasets.transforms.crops import CropLaw, RandomAreaCrop, WholeImage
from mmsscl.datasets.transforms.formatting import PackPair
from mmsscl.datasets.transforms.loading import LoadSceneImage
from mmsscl.datasets.transforms.photometric import DrawPhotometric, PhotometricLaw
from mmsscl.datasets.transforms.spatial_consistent_pair import SpatialConsistentPair

__all__ = [
    "BoxLaw",
    "CropLaw",
    "DrawPhotometric",
    "FreeBoxes",
    "GridBoxes",
    "LoadSceneImage",
    "PackPair",
    "PhotometricLaw",
    "RandomAreaCrop",
    "SpatialConsistentPair",
    "WholeImage",
    "WholeViewBox",
]
