"""Losses: tensors in, a scalar out."""
from .cosine_loss import CosineLoss

__all__ = ["CosineLoss"]
