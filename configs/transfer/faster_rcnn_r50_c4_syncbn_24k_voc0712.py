"""MoCo's VOC protocol: Faster R-CNN, ResNet-50 C4, 24,000 iterations of VOC07+12 trainval, AP on VOC07 test.

bash tools/dist_train.sh configs/transfer/faster_rcnn_r50_c4_syncbn_24k_voc0712.py 8 \
    --cfg-options model.backbone.init_cfg.checkpoint=backbone.pth

8 GPUs with 2 images each. data/VOCdevkit/ holds VOC2007 (trainval and test) and VOC2012, as they unpack.
"""

_base_ = ["mmdet::pascal_voc/faster-rcnn_r50-caffe-c4_ms-18k_voc0712.py", "./_base_/pretrained_r50_c4.py"]

model = _base_.c4
# the parts know which year they are of, and differ in that
train_dataloader = dict(dataset=dict(ignore_keys=["dataset_type"]))

train_cfg = dict(max_iters=24000, val_interval=2000)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=100),
    dict(type="MultiStepLR", begin=0, end=24000, by_epoch=False, milestones=[18000, 22000], gamma=0.1),
]
val_evaluator = dict(
    type="mmsscl.SerialVOCMetric", iou_thrs=[0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
)
test_evaluator = val_evaluator
default_hooks = dict(
    checkpoint=dict(type="mmsscl.SafeCheckpointHook", interval=2000, max_keep_ckpts=2),
    preemption=dict(type="mmsscl.PreemptionHook"),
)
