"""Saliency estimators: feature maps in, maps of what matters out."""
from .activation_saliency import ActivationSaliency
from .base import EstimatedSaliency, SaliencyEstimator
from .contrastive_cam import ContrastiveCAM
from .geodesic_saliency import GeodesicSaliency
from .sign_rule import orient_maps
from .spectral_saliency import SpectralSaliency

DEFAULT_ESTIMATOR = {"type": "GeodesicSaliency"}
"""What makes the maps where a config names no estimator, in training and in the tools."""

__all__ = [
    "DEFAULT_ESTIMATOR",
    "ActivationSaliency",
    "ContrastiveCAM",
    "EstimatedSaliency",
    "GeodesicSaliency",
    "SaliencyEstimator",
    "SpectralSaliency",
    "orient_maps",
]
