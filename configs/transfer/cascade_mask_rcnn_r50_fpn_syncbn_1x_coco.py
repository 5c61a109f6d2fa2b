"""Cascade Mask R-CNN, ResNet-50 FPN, 12 epochs of COCO, 8 GPUs with 2 images each.

bash tools/dist_train.sh configs/transfer/cascade_mask_rcnn_r50_fpn_syncbn_1x_coco.py 8 \
    --cfg-options model.backbone.init_cfg.checkpoint=backbone.pth
"""

_base_ = ["mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py", "./_base_/pretrained_r50.py"]

norm = dict(norm_cfg=_base_.sync_bn)
model = dict(
    backbone=_base_.backbone,
    neck=norm,
    roi_head=dict(
        bbox_roi_extractor=_base_.roi_extractor,
        mask_roi_extractor=_base_.roi_extractor,
        bbox_head=[dict(head, type="Shared4Conv1FCBBoxHead", **norm) for head in _base_.model.roi_head.bbox_head],
        mask_head=norm,
    ),
)

# a run that is killed or told to stop goes on where it was
train_cfg = dict(type="mmsscl.ResumableEpochLoop")
default_hooks = dict(
    checkpoint=dict(type="mmsscl.SafeCheckpointHook"), preemption=dict(type="mmsscl.PreemptionHook")
)
