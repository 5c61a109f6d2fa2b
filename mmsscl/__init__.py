"""mmsscl: self-supervised pretraining of vision backbones on unlabelled scene photos, for MMEngine and mmdet.

Importing it is cheap and silent: it checks the versions of what it stands on (metadata only), prepares torchvision's
operators for an mmcv without compiled ones, and makes ``mmsscl::`` known to mmengine's configs. torch, mmcv and
mmengine are imported by whoever needs them first.

Raises:
    ImportError: when a needed package is missing, too old, or installed twice, with the command that mends it.
"""
import sys

from mmsscl.config_scope import register_config_scope
from mmsscl.environment import check_environment
from mmsscl.ops.mmcv_finder import install_mmcv_ext
from mmsscl.version import __version__

# the doctor is for environments that are not sound
if sys.argv[1:2] != ["doctor"]:
    check_environment()
install_mmcv_ext()
register_config_scope()

__all__ = ["__version__"]
