# SCRL on a few thousand real photos, small enough for CPU cores or a few minutes of one GPU: ResNet-18 at stride 16,
# 128 px views. MMSSCL_DATA names the folder that holds voc_scenes/ and coco_mini/.
_base_ = ['../scrl_r50_coco.py']

data_root = '{{$MMSSCL_DATA:data/scenes}}/'
norm_cfg = dict(type='BN')
model = dict(
    backbone=dict(depth=18, strides=(1, 2, 2, 1), norm_cfg=norm_cfg),
    neck=dict(in_channels=512, hidden_channels=2048, out_channels=256, stride=16, norm_cfg=norm_cfg),
    head=dict(hidden_channels=2048, norm_cfg=norm_cfg))

train_pipeline = [
    dict(type='LoadSceneImage'),
    dict(
        type='SpatialConsistentPair', size=128, views={{_base_.views}},
        boxes=dict(type='GridBoxes', num_boxes=10, min_size=16, max_iou=0.5)),
    dict(type='DrawPhotometric', views={{_base_.photometric}}),
    dict(type='PackPair'),
]
sources = [
    dict(data_root=data_root + 'voc_scenes', data_prefix='images', ann_file='instances_train.json'),
    dict(data_root=data_root + 'coco_mini', data_prefix='images', ann_file='instances_train.json'),
    dict(data_root=data_root + 'coco_mini/unlabeled'),
]
train_dataloader = dict(
    batch_size=32, num_workers=1, pin_memory=False,
    dataset=dict(_delete_=True, type='SceneImages', sources=sources, pipeline=train_pipeline))
optim_wrapper = dict(
    _delete_=True, type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=11, eta_min=0.0, begin=1, end=12, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=12)
custom_hooks = [dict(type='MomentumUpdateHook', momentum=0.99)]
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=1))
