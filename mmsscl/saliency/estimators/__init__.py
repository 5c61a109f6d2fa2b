"""Saliency estimators: feature maps in, maps of what matters out."""
from .activation_saliency import ActivationSaliency
from .base import EstimatedSaliency, SaliencyEstimator
from .contrastive_cam import ContrastiveCAM
from .geodesic_saliency import GeodesicSaliency
from .sign_rule import orient_maps
from .spectral_saliency import SpectralSaliency

__all__ = [
    "ActivationSaliency",
    "ContrastiveCAM",
    "EstimatedSaliency",
    "GeodesicSaliency",
    "SaliencyEstimator",
    "SpectralSaliency",
    "orient_maps",
]
