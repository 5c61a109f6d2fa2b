"""mmsscl: self-supervised pretraining of vision backbones on unlabelled scene photos, for MMEngine and mmdet."""
from mmsscl.ops.mmcv_finder import install_mmcv_ext
from mmsscl.version import __version__

install_mmcv_ext()

__all__ = ["__version__"]
