# The control: the same detector, seed and budget from random weights.
_base_ = ['faster_rcnn_r18_voc.py']

model = dict(backbone=dict(init_cfg=None))
custom_hooks = []
