"""What fine-tuning with few labels shares: a pretrained ResNet-50, trained whole with SyncBN, and a linear layer."""

_base_ = ["./pretrained_r50.py"]

model = dict(backbone=dict(norm_cfg=dict(type="SyncBN", requires_grad=True)))
