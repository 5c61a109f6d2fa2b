# The control: the same detector, seed and budget from random weights.
_base_ = ['mask_rcnn_r18_coco_mini.py']

model = dict(backbone=dict(init_cfg=None))
custom_hooks = []
