# SCRL + SGCL, ResNet-50, COCO train2017 without labels, 8 GPUs x 64 images, 800 epochs: a term of whole views and one
# of matched boxes, crops and boxes drawn and boxes weighed by the model's own saliency. Ours; see sgcl_r50_coco.py.
#   bash tools/dist_train.sh configs/scrl_sgcl_r50_coco.py 8
# With local crops too: add local_crops to the pipeline and a local_head (as in _base_/models/sgcl_r50.py) to the model.
_base_ = [
    '_base_/models/scrl_sgcl_r50.py',
    '_base_/datasets/coco_saliency_pairs.py',
    '_base_/schedules/lars_800e.py',
    '_base_/default_runtime.py',
]

train_pipeline = [
    dict(type='LoadSceneImage'), {{_base_.load_saliency}},
    dict(
        type='SpatialConsistentPair', size=224, views={{_base_.views}},
        boxes=dict(type='SaliencyBoxes', num_boxes=10, min_size=32, max_iou=0.5), max_iou=0.8),
    {{_base_.photometric_draw}}, dict(type='ScoreCrops'), dict(type='PackPair')
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

custom_hooks = [dict(type='MomentumUpdateHook', momentum=0.996), {{_base_.saliency_refresh}}]
