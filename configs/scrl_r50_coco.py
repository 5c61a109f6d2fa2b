# SCRL, ResNet-50, COCO train2017 without labels, 8 GPUs x 64 images, 800 epochs:
#   bash tools/dist_train.sh configs/scrl_r50_coco.py 8
# On your own photos:
#   bash tools/dist_train.sh configs/scrl_r50_coco.py 8 --cfg-options train_dataloader.dataset.data_root=photos/
_base_ = [
    '_base_/models/scrl_r50.py',
    '_base_/datasets/coco_pairs.py',
    '_base_/schedules/lars_800e.py',
    '_base_/default_runtime.py',
]
