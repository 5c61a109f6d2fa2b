"""Linear probe: a frozen ResNet-50 of tools/export_backbone.py and a linear layer, on a folder of images per class.

python tools/train.py configs/classify/linear_r50_folder.py --cfg-options model.head.num_classes=10 \
    train_dataloader.dataset.data_root=photos/train val_dataloader.dataset.data_root=photos/val \
    test_dataloader.dataset.data_root=photos/val model.backbone.init_cfg.checkpoint=backbone.pth
"""

_base_ = ["mmpretrain::_base_/default_runtime.py", "../_base_/datasets/linear_folder.py"]

custom_imports = dict(imports=["mmsscl.registry"], allow_failed_imports=False)
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

# linear-evaluation schedule of MoCo: a large rate is right for normalised frozen features
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=30.0, momentum=0.9, weight_decay=0.0))
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[60, 80], gamma=0.1)]
train_cfg = dict(type="mmsscl.ResumableEpochLoop", max_epochs=100, val_interval=10)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=256)
