# coco_pairs.py with crops drawn, and scored, by saliency. Where there is no saliency yet, views and boxes are those of
# coco_pairs.py bit for bit.
_base_ = ['coco_pairs.py']

views = [dict(type='SaliencyCrop', area=(0.2, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5, lambda_max=0.7)] * 2
load_saliency = dict(type='LoadSaliency')
pair = dict(type='SpatialConsistentPair', size=224, views=views, boxes={{_base_.boxes}}, max_iou=0.8)
local_crops = dict(type='LocalCrops', number=4, size=96, area=(0.05, 0.2), lambda_max=0.9)
saliency_refresh = dict(
    type='SaliencyRefreshHook', estimator=dict(type='GeodesicSaliency'), warmup_epochs=40, ramp_epochs=40,
    interval=40, image_size=448, map_size=14)
photometric_draw = dict(type='DrawPhotometric', views={{_base_.photometric}})

train_pipeline = [
    dict(type='LoadSceneImage'), load_saliency, pair, local_crops, photometric_draw, dict(type='ScoreCrops'),
    dict(type='PackPair')
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
