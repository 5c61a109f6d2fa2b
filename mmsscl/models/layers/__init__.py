"""Layers without a config of their own: pooling, perceptron, moving average."""
from .ema import cosine_momentum, update_average
from .mlp import ProjectionMLP, build_row_norm
from .region_pool import RegionPool

__all__ = ["ProjectionMLP", "RegionPool", "build_row_norm", "cosine_momentum", "update_average"]
