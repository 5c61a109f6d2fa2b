# The light Faster R-CNN on voc_scenes over a frozen backbone, batch norm statistics included: what the features hold as
# they are. Neck and heads train.
#   python tools/train.py configs/scenes/faster_rcnn_r18_voc_frozen.py --cfg-options model.backbone.init_cfg.checkpoint=FILE
_base_ = ['faster_rcnn_r18_voc.py']

model = dict(backbone=dict(frozen_stages=4, norm_eval=True))
