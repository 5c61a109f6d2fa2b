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
# 160 px give 10 x 10 cells at stride 16. Larger images, or mirrored ones as well, cost more than these short epochs bear
# and make maps little better: on ECSSD max F .67 in place of .65 (SCRL after 12 epochs, 224 px and mirrored).
custom_hooks = [
    dict(type='MomentumUpdateHook', momentum=0.99),
    dict(
        type='SaliencyRefreshHook', estimator=dict(type='GeodesicSaliency'), warmup_epochs=2, ramp_epochs=2,
        interval=4, image_size=160, map_size=10, mirror=False),
]
