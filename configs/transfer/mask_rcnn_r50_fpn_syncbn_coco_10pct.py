"""Mask R-CNN, ResNet-50 FPN, on 10 % of COCO's labels: 24 passes over them, 8 GPUs with 2 images each.

python tools/data/split_coco.py data/coco/annotations/instances_train2017.json --percent 1 10
bash tools/dist_train.sh configs/transfer/mask_rcnn_r50_fpn_syncbn_coco_10pct.py 8 \
    --cfg-options model.backbone.init_cfg.checkpoint=backbone.pth
"""

_base_ = ["./mask_rcnn_r50_fpn_syncbn_1x_coco.py"]

labelled = _base_.train_dataloader.dataset
labelled.ann_file = "annotations/instances_train2017.0@10.json"
train_dataloader = dict(dataset=dict(_delete_=True, type="RepeatDataset", times=2, dataset=labelled))
