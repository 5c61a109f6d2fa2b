"""Linear probe on ImageNet as MoCo v1 and v2 make it: a frozen ResNet-50, SGD with a rate of 30, 100 epochs.

bash tools/dist_train.sh configs/classify/linear_r50_in1k_moco.py 8 \
    --cfg-options model.backbone.init_cfg.checkpoint=backbone.pth

Photos: data/imagenet/train and data/imagenet/val, a folder for each class. 8 processes with 32 photos each, as released;
on one GPU: --cfg-options train_dataloader.batch_size=256.

From main_lincls.py of facebookresearch/moco: batch 256, SGD, rate 30, momentum .9, no weight decay, rate / 10 after 60 and
80 of 100 epochs; random crops of at least 8 % of the area, flips; tests on the middle 224 px of a short side of 256; the
linear layer starts from a normal distribution of deviation .01; norms in eval mode.
"""

_base_ = ["./_base_/frozen_r50.py", "../_base_/datasets/linear_folder.py"]

train_dataloader = dict(batch_size=32)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=30.0, momentum=0.9, weight_decay=0.0))
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[60, 80], gamma=0.1)]
train_cfg = dict(type="mmsscl.ResumableEpochLoop", max_epochs=100, val_interval=10)
auto_scale_lr = dict(base_batch_size=256)
