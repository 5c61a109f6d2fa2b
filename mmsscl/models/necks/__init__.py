"""Necks: dense features and boxes in, vectors out."""
from .global_neck import GlobalNeck
from .global_region_neck import GlobalRegionNeck
from .region_neck import RegionNeck

__all__ = ["GlobalNeck", "GlobalRegionNeck", "RegionNeck"]
