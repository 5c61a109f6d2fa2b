"""Settings of the whole suite."""
import mmsscl  # noqa: F401  (before any test module imports mmdet: it serves mmcv's compiled operators)
