"""RetinaNet, ResNet-50 FPN, 12 epochs of COCO, 8 GPUs with 2 images each.

bash tools/dist_train.sh configs/transfer/retinanet_r50_fpn_syncbn_1x_coco.py 8 \
    --cfg-options model.backbone.init_cfg.checkpoint=backbone.pth

SyncBN in backbone and FPN. The heads have none: they are shared by five levels, whose statistics differ.
"""

_base_ = ["mmdet::retinanet/retinanet_r50_fpn_1x_coco.py", "./_base_/pretrained_r50.py"]

model = dict(backbone=_base_.backbone, neck=dict(norm_cfg=_base_.sync_bn))

# a run that is killed or told to stop goes on where it was
train_cfg = dict(type="mmsscl.ResumableEpochLoop")
default_hooks = dict(
    checkpoint=dict(type="mmsscl.SafeCheckpointHook"), preemption=dict(type="mmsscl.PreemptionHook")
)
