"""What linear probes and fine-tuning with few labels share: a pretrained ResNet-50 and a linear layer."""

_base_ = ["./runtime.py"]

# stops the run when the file has not filled the whole backbone; random weights on purpose:
# --cfg-options model.backbone.init_cfg=None custom_hooks.0.allow_random=True
custom_hooks = [dict(type="mmsscl.BackboneWeightsHook", allow_unexpected=[r"^fc\."])]

model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(
        num_classes=1000, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
    ),
    backbone=dict(
        type="ResNet",
        depth=50,
        init_cfg=dict(type="Pretrained", checkpoint="work_dirs/scrl_r50_coco/backbone.pth"),
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=1000, in_channels=2048, loss=dict(type="CrossEntropyLoss")),
)
