"""Mask R-CNN, ResNet-50 FPN, on 1 % of COCO's labels: 120 passes over them, 8 GPUs with 2 images each.

python tools/data/split_coco.py data/coco/annotations/instances_train2017.json --percent 1 10
bash tools/dist_train.sh configs/transfer/mask_rcnn_r50_fpn_syncbn_coco_1pct.py 8 \
    --cfg-options model.backbone.init_cfg.checkpoint=backbone.pth
"""

_base_ = ["./mask_rcnn_r50_fpn_syncbn_coco_10pct.py"]

train_dataloader = dict(
    dataset=dict(times=10, dataset=dict(ann_file="annotations/instances_train2017.0@1.json"))
)
