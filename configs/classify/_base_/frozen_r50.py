"""What every linear probe shares: a frozen ResNet-50 of tools/export_backbone.py, its norms in eval mode, a linear layer."""

_base_ = ["./pretrained_r50.py"]

model = dict(backbone=dict(frozen_stages=4, norm_eval=True))
