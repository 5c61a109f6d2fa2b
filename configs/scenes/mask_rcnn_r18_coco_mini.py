# The light Mask R-CNN on the people of coco_mini, from a backbone of this folder: 268 of its 516 photos show some, and no
# other of its 80 classes has enough examples to learn.
#   python tools/train.py configs/scenes/mask_rcnn_r18_coco_mini.py --cfg-options model.backbone.init_cfg.checkpoint=FILE
_base_ = ['../_base_/models/mask_rcnn_r18_fpn_light.py', '../_base_/datasets/scenes_detection.py']

dataset_from_json = dict(
    train='{{$MMSSCL_DATA:data/scenes}}/coco_mini/instances_train.json',
    val='{{$MMSSCL_DATA:data/scenes}}/coco_mini/instances_val.json',
    images='{{$MMSSCL_DATA:data/scenes}}/coco_mini/images',
    classes=['person'])
train_dataloader = dict(dataset=dict(pipeline={{_base_.train_pipeline_with_masks}}))
val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = val_evaluator
