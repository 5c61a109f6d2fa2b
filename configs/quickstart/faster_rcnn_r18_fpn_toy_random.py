# The control: the same detector, seed, schedule and budget from random weights.
_base_ = ['faster_rcnn_r18_fpn_toy.py']

model = dict(backbone=dict(init_cfg=None))
custom_hooks = []
