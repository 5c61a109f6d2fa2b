from mmsscl.datasets.transforms.boxes import BoxLaw, FreeBoxes, GridBoxes, WholeViewBox
from mmsscl.datasets.transforms.clipped_lighting import ClippedLighting
from mmsscl.datasets.transforms.crops import CropLaw, RandomAreaCrop, WholeImage
from mmsscl.datasets.transforms.formatting import PackPair
from mmsscl.datasets.transforms.load_saliency import LoadSaliency
from mmsscl.datasets.transforms.loading import LoadSceneImage
from mmsscl.datasets.transforms.local_crops import LocalCrops
from mmsscl.datasets.transforms.photometric import DrawPhotometric, PhotometricLaw
from mmsscl.datasets.transforms.saliency_boxes import SaliencyBoxes
from mmsscl.datasets.transforms.saliency_crop import SaliencyCrop
from mmsscl.datasets.transforms.saliency_random_resized_crop import SaliencyRandomResizedCrop
from mmsscl.datasets.transforms.score_crops import ScoreCrops
from mmsscl.datasets.transforms.spatial_consistent_pair import SpatialConsistentPair

__all__ = [
    "BoxLaw",
    "ClippedLighting",
    "CropLaw",
    "DrawPhotometric",
    "FreeBoxes",
    "GridBoxes",
    "LoadSaliency",
    "LoadSceneImage",
    "LocalCrops",
    "PackPair",
    "PhotometricLaw",
    "RandomAreaCrop",
    "SaliencyBoxes",
    "SaliencyCrop",
    "SaliencyRandomResizedCrop",
    "ScoreCrops",
    "SpatialConsistentPair",
    "WholeImage",
    "WholeViewBox",
]
