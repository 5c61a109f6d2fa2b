# SGCL over BYOL on the photos of scrl_r18_scenes.py: the model and the views alone differ from byol_r18_scenes.py.
_base_ = ['byol_r18_scenes.py']

model = dict(
    type='SGCL', regions='global',
    head=dict(type='WeightedPredictHead'),
    local_head=dict(
        type='WeightedPredictHead', in_channels=256, hidden_channels=2048, out_channels=256,
        norm_cfg=dict(type='BN')))

views = [dict(type='SaliencyCrop', area=(0.2, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5, lambda_max=0.7)] * 2
train_pipeline = [
    dict(type='LoadSceneImage'),
    dict(type='LoadSaliency'),
    dict(
        type='SpatialConsistentPair', size=128, views=views,
        boxes=dict(type='GridBoxes', num_boxes=10, min_size=16, max_iou=0.5), max_iou=0.8),
    dict(type='LocalCrops', number=2, size=64, area=(0.05, 0.2), lambda_max=0.9),
    dict(type='DrawPhotometric', views={{_base_.photometric}}),
    dict(type='ScoreCrops'),
    dict(type='PackPair'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
# 224 px give 14 x 14 cells at stride 16; larger images or mirrored ones would cost more than epochs of this length do.
custom_hooks = [
    dict(type='MomentumUpdateHook', momentum=0.99),
    dict(
        type='SaliencyRefreshHook', estimator=dict(type='ContrastiveCAM'), warmup_epochs=3, ramp_epochs=3,
        interval=3, image_size=224, map_size=14, mirror=False),
]
