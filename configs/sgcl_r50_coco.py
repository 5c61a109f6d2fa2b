# SGCL over BYOL, ResNet-50, COCO train2017 without labels, 8 GPUs x 64 images, 800 epochs: crops drawn by the model's
# own saliency, four local crops an image, losses weighed by saliency. Built from the abstract of arXiv 2302.11461; the
# constants are ours, and no score of this config is a published one.
#   bash tools/dist_train.sh configs/sgcl_r50_coco.py 8
_base_ = [
    '_base_/models/sgcl_r50.py',
    '_base_/datasets/coco_saliency_pairs.py',
    '_base_/schedules/lars_800e.py',
    '_base_/default_runtime.py',
]

custom_hooks = [dict(type='MomentumUpdateHook', momentum=0.996), {{_base_.saliency_refresh}}]
