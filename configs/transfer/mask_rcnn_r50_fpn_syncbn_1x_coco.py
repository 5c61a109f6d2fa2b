"""Mask R-CNN, ResNet-50 FPN, 12 epochs of COCO, 8 GPUs with 2 images each.

bash tools/dist_train.sh configs/transfer/mask_rcnn_r50_fpn_syncbn_1x_coco.py 8 \
    --cfg-options model.backbone.init_cfg.checkpoint=backbone.pth

COCO is expected in data/coco/ (annotations/, train2017/, val2017/). Another number of GPUs: add --auto-scale-lr.
"""

_base_ = ["mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py", "./_base_/pretrained_r50.py"]

model = dict(
    backbone=_base_.backbone,
    neck=dict(norm_cfg=_base_.sync_bn),
    roi_head=dict(
        bbox_roi_extractor=_base_.roi_extractor,
        mask_roi_extractor=_base_.roi_extractor,
        bbox_head=dict(type="Shared4Conv1FCBBoxHead", norm_cfg=_base_.sync_bn),
        mask_head=dict(norm_cfg=_base_.sync_bn),
    ),
)

# a run that is killed or told to stop goes on where it was
train_cfg = dict(type="mmsscl.ResumableEpochLoop")
default_hooks = dict(
    checkpoint=dict(type="mmsscl.SafeCheckpointHook"), preemption=dict(type="mmsscl.PreemptionHook")
)
