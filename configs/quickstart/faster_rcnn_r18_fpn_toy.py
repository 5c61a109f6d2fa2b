# The light Faster R-CNN on the embedded scenes, from the quickstart's backbone.
_base_ = ['../_base_/models/faster_rcnn_r18_fpn_light.py', '../_base_/datasets/toy_detection.py']

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/quickstart/backbone.pth')),
    roi_head=dict(bbox_head=dict(num_classes=3)))
