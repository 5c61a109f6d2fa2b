"""Losses: tensors in, a scalar out."""
from .cosine_loss import CosineLoss
from .info_nce_loss import InfoNCELoss

__all__ = ["CosineLoss", "InfoNCELoss"]
