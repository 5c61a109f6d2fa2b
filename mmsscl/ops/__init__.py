"""Operators: what mmcv's compiled extension offers, served by torchvision where that extension is missing."""
from mmsscl.ops.mmcv_finder import install_mmcv_ext, mmcv_ext_source

__all__ = ["install_mmcv_ext", "mmcv_ext_source"]
