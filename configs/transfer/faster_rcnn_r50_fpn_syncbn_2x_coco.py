"""Faster R-CNN, ResNet-50 FPN, 24 epochs of COCO, 8 GPUs with 2 images each.

bash tools/dist_train.sh configs/transfer/faster_rcnn_r50_fpn_syncbn_2x_coco.py 8 \
    --cfg-options model.backbone.init_cfg.checkpoint=backbone.pth
"""

_base_ = ["./faster_rcnn_r50_fpn_syncbn_1x_coco.py"]

train_cfg = dict(max_epochs=24)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", begin=0, end=24, by_epoch=True, milestones=[16, 22], gamma=0.1),
]
