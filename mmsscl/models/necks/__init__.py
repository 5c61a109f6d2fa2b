"""Necks: dense features and boxes in, vectors out."""
from .global_neck import GlobalNeck
from .region_neck import RegionNeck

__all__ = ["GlobalNeck", "RegionNeck"]
