"""Photometric operations, batched on the model's device, with one set of parameters per image."""
from mmsscl.models.augment.photometric import PhotometricStep, apply_photometric_, plan_photometric

__all__ = ["PhotometricStep", "apply_photometric_", "plan_photometric"]
