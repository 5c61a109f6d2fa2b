"""mmselfsup's COCO protocol: Mask R-CNN, ResNet-50 FPN, short side of 640 to 800 pixels, 12 epochs, 8 GPUs with 2 images.

bash tools/dist_train.sh configs/transfer/mask_rcnn_r50_fpn_syncbn_ms_1x_coco.py 8 \
    --cfg-options model.backbone.init_cfg.checkpoint=backbone.pth

SyncBN in backbone, FPN, box head (4 convolutions, 1 linear) and mask head, as in mmselfsup's mask-rcnn_r50_fpn_ms-1x_coco.
"""

_base_ = ["./mask_rcnn_r50_fpn_syncbn_1x_coco.py"]

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomChoiceResize", scales=[(1333, side) for side in range(640, 801, 32)], keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
