"""What every linear probe shares: a frozen ResNet-50 of tools/export_backbone.py, its norms in eval mode, a linear layer."""

_base_ = ["./runtime.py"]

# stops the run when the file has not filled the whole backbone
custom_hooks = [dict(type="mmsscl.BackboneWeightsHook", allow_unexpected=[r"^fc\."])]

model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(
        num_classes=1000, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
    ),
    backbone=dict(
        type="ResNet",
        depth=50,
        frozen_stages=4,
        norm_eval=True,
        init_cfg=dict(type="Pretrained", checkpoint="work_dirs/scrl_r50_coco/backbone.pth"),
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=1000, in_channels=2048, loss=dict(type="CrossEntropyLoss")),
)
