# SCRL + SGCL on the photos of scrl_r18_scenes.py: the model and the views alone differ.
_base_ = ['scrl_r18_scenes.py']

model = dict(
    type='SGCL', regions='both',
    neck=dict(type='GlobalRegionNeck'),
    head=dict(type='WeightedPredictHead'),
    region_head=dict(
        type='WeightedPredictHead', in_channels=256, hidden_channels=2048, out_channels=256,
        norm_cfg=dict(type='BN')))

views = [dict(type='SaliencyCrop', area=(0.2, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5, lambda_max=0.7)] * 2
train_pipeline = [
    dict(type='LoadSceneImage'),
    dict(type='LoadSaliency'),
    dict(
        type='SpatialConsistentPair', size=128, views=views,
        boxes=dict(type='SaliencyBoxes', num_boxes=10, min_size=16, max_iou=0.5), max_iou=0.8),
    dict(type='DrawPhotometric', views={{_base_.photometric}}),
    dict(type='ScoreCrops'),
    dict(type='PackPair'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
# See sgcl_r18_scenes.py.
custom_hooks = [
    dict(type='MomentumUpdateHook', momentum=0.99),
    dict(
        type='SaliencyRefreshHook', estimator=dict(type='GeodesicSaliency'), warmup_epochs=2, ramp_epochs=2,
        interval=4, image_size=160, map_size=10, mirror=False),
]
