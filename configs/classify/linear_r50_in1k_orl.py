"""Linear probes on ImageNet as ORL makes them: one after each stage of a frozen ResNet-50, 28 epochs, together in one run.

bash tools/dist_train.sh configs/classify/linear_r50_in1k_orl.py 8 \
    --cfg-options model.backbone.init_cfg.checkpoint=backbone.pth

Photos: data/imagenet/train and data/imagenet/val, a folder for each class. 8 processes with 32 photos each, as released;
on one GPU: --cfg-options train_dataloader.batch_size=256.

From r50_multihead_28ep.py of Jiahao000/ORL (arXiv 2106.11952): maps pooled to some 9,000 numbers, a norm without
parameters and a linear layer each; batch 256, SGD with Nesterov momentum .9, rate .01, weight decay 1e-4, rate / 10 after 8,
16 and 24 epochs; random crops, flips, colour jitter .4 and AlexNet's lighting. accuracy/top1 is that of the best stage.
The release also probes the first convolution, which mmpretrain's ResNet does not give out.
"""

_base_ = ["./_base_/frozen_r50.py", "../_base_/datasets/linear_folder_color.py"]

model = dict(
    backbone=dict(out_indices=(0, 1, 2, 3)),
    neck=None,
    head=dict(_delete_=True, type="mmsscl.StageLinearHeads", num_classes=1000, in_channels=(256, 512, 1024, 2048)),
)
train_dataloader = dict(batch_size=32)
optimizer = dict(type="SGD", lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)
optim_wrapper = dict(type="OptimWrapper", optimizer=optimizer)
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[8, 16, 24], gamma=0.1)]
train_cfg = dict(type="mmsscl.ResumableEpochLoop", max_epochs=28, val_interval=2)
val_evaluator = dict(_delete_=True, type="mmsscl.StageAccuracy")
test_evaluator = val_evaluator
auto_scale_lr = dict(base_batch_size=256)
