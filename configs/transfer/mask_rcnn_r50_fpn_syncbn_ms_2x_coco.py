"""mmselfsup's COCO protocol for 24 epochs: Mask R-CNN, ResNet-50 FPN, short side of 640 to 800 pixels, 8 GPUs with 2 images.

bash tools/dist_train.sh configs/transfer/mask_rcnn_r50_fpn_syncbn_ms_2x_coco.py 8 \
    --cfg-options model.backbone.init_cfg.checkpoint=backbone.pth

As mmselfsup's mask-rcnn_r50_fpn_ms-2x_coco, its longer warm-up included.
"""

_base_ = ["./mask_rcnn_r50_fpn_syncbn_ms_1x_coco.py"]

train_cfg = dict(max_epochs=24)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", begin=0, end=24, by_epoch=True, milestones=[16, 22], gamma=0.1),
]
