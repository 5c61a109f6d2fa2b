"""Mask R-CNN, ResNet-50 FPN, 12 epochs of COCO on one GPU: 4 images at a time, 4 times an optimizer step.

python tools/train.py configs/transfer/mask_rcnn_r50_fpn_syncbn_1x_coco_1gpu.py --amp \
    --cfg-options model.backbone.init_cfg.checkpoint=backbone.pth

A step sees 16 images as on 8 GPUs, so the learning rate stays; batch norm sees 4. The warm-up counts iterations, 4 a step.
"""

_base_ = ["./mask_rcnn_r50_fpn_syncbn_1x_coco.py"]

train_dataloader = dict(batch_size=4, num_workers=4)
optim_wrapper = dict(accumulative_counts=4)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=2000),
    dict(type="MultiStepLR", begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
