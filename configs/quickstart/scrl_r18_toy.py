# A pretraining that a laptop finishes in minutes: ResNet-18 at stride 16, 96 px views of the embedded scenes.
_base_ = ['../scrl_r50_coco.py']

norm_cfg = dict(type='BN')
model = dict(
    backbone=dict(depth=18, strides=(1, 2, 2, 1), norm_cfg=norm_cfg),
    neck=dict(in_channels=512, hidden_channels=1024, out_channels=128, stride=16, norm_cfg=norm_cfg),
    head=dict(in_channels=128, hidden_channels=1024, out_channels=128, norm_cfg=norm_cfg))

train_pipeline = [
    dict(type='LoadSceneImage'),
    dict(
        type='SpatialConsistentPair', size=96, views={{_base_.views}},
        boxes=dict(type='GridBoxes', num_boxes=10, min_size=16, max_iou=0.5)),
    dict(type='DrawPhotometric', views={{_base_.photometric}}),
    dict(type='PackPair'),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    pin_memory=False,
    dataset=dict(data_root='data/toy_scenes/unlabeled/', pipeline=train_pipeline))

optim_wrapper = dict(
    _delete_=True, type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=40),
    dict(type='CosineAnnealingLR', by_epoch=False, T_max=360, eta_min=0.0, begin=40, end=400),
]
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=400)
# a target that moves as slowly as in a long run would still hold its random start when this one ends
custom_hooks = [dict(type='MomentumUpdateHook', momentum=0.95)]
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(by_epoch=False, interval=400, max_keep_ckpts=1))
log_processor = dict(window_size=20, by_epoch=False)
