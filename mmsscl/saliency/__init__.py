"""Saliency from the model in training: estimated, stored, scheduled, turned into weights."""
from .normalise import average_mirrored, entropy_trust, normalise_maps, resize_maps
from .weights import crop_weights, effective_sample_size, pair_scores

__all__ = [
    "average_mirrored",
    "crop_weights",
    "effective_sample_size",
    "entropy_trust",
    "normalise_maps",
    "pair_scores",
    "resize_maps",
]
