# Ablation of sgcl_r50_coco.py: crops fall where they would without saliency, which weighs the losses alone.
_base_ = ['../sgcl_r50_coco.py']

views = [dict(type='RandomAreaCrop', area=(0.2, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5)] * 2
train_pipeline = [
    dict(type='LoadSceneImage'), {{_base_.load_saliency}},
    dict(type='SpatialConsistentPair', size=224, views=views, boxes={{_base_.boxes}}),
    dict(type='LocalCrops', number=4, size=96, area=(0.05, 0.2), lambda_max=0.0),
    {{_base_.photometric_draw}}, dict(type='ScoreCrops'), dict(type='PackPair')
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
