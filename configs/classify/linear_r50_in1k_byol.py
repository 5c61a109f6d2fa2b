"""Linear probe on ImageNet as BYOL makes it: a frozen ResNet-50, Nesterov momentum, a cosine over 80 epochs.

bash tools/dist_train.sh configs/classify/linear_r50_in1k_byol.py 8 \
    --cfg-options model.backbone.init_cfg.checkpoint=backbone.pth

Photos: data/imagenet/train and data/imagenet/val, a folder for each class. 8 processes with 128 photos each; on one GPU:
--cfg-options train_dataloader.batch_size=1024.

From the paper (arXiv 2006.07733, C.1): batch 1024, SGD with Nesterov momentum .9, 80 epochs, no weight decay or other
regularisation; random crops and flips; tests on the middle 224 px of a bicubic short side of 256. The paper picks the rate
among .4, .3, .2, .1 and .05 on 10,009 held-out training photos; the release takes .2 and trains on all. The rate is
multiplied by batch / 256 and falls by a cosine to 0, step by step, in the release; the paper does not say whether its five
are. Here: the release's .2 * 1024 / 256. Its crops are bicubic without antialiasing; pillow's here are antialiased.
"""

_base_ = ["./_base_/frozen_r50.py", "../_base_/datasets/linear_folder.py"]

train_pipeline = _base_.train_pipeline
train_pipeline[1].update(interpolation="bicubic")
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(interpolation="bicubic")
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optimizer = dict(type="SGD", lr=0.8, momentum=0.9, nesterov=True, weight_decay=0.0)
optim_wrapper = dict(type="OptimWrapper", optimizer=optimizer)
param_scheduler = [dict(type="CosineAnnealingLR", T_max=80, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(type="mmsscl.ResumableEpochLoop", max_epochs=80, val_interval=10)
auto_scale_lr = dict(base_batch_size=1024)
