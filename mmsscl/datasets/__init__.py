from mmsscl.datasets.class_folders import ClassFolders
from mmsscl.datasets.encoded_image import EncodedImage
from mmsscl.datasets.epoch_index_sampler import EpochIndexSampler
from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.datasets.scene_images import SceneImages

__all__ = ["ClassFolders", "EncodedImage", "EpochIndexSampler", "RandomStreams", "SceneImages"]
