# The light Faster R-CNN on voc_scenes, from a backbone of this folder; classes come from the json.
#   python tools/train.py configs/scenes/faster_rcnn_r18_voc.py --cfg-options model.backbone.init_cfg.checkpoint=FILE
_base_ = ['../_base_/models/faster_rcnn_r18_fpn_light.py', '../_base_/datasets/scenes_detection.py']

dataset_from_json = dict(
    train='{{$MMSSCL_DATA:data/scenes}}/voc_scenes/instances_train.json',
    val='{{$MMSSCL_DATA:data/scenes}}/voc_scenes/instances_val.json',
    images='{{$MMSSCL_DATA:data/scenes}}/voc_scenes/images')
