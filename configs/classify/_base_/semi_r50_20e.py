"""Fine-tuning with few labels for 20 epochs, the linear layer at a hundred times the backbone's learning rate.

From ORL's configs (semi_classification, r50_lr0_01_head100_wd0.py and base.py) and mmselfsup's grid (imagenet_1percent,
imagenet_10percent): batch 256, SyncBN, SGD, momentum .9, rate / 5 after 12 and 16 of 20 epochs, random crops and flips. Both
search the backbone's rate in .1, .01, .001 and the factor of the head in 1, 10, 100. ORL's file for 10 % has .01, 100 and
no weight decay (mmselfsup: 5e-4); which one it took for 1 % is not in its release, so 1 % has the same here.
"""

_base_ = ["./trained_r50.py", "../../_base_/datasets/linear_folder.py"]

train_dataloader = dict(batch_size=64)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.0),
    paramwise_cfg=dict(custom_keys={"head": dict(lr_mult=100.0)}),
)
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[12, 16], gamma=0.2)]
train_cfg = dict(type="mmsscl.ResumableEpochLoop", max_epochs=20, val_interval=20)
auto_scale_lr = dict(base_batch_size=256)
