# Control of sgcl_r50_coco.py: each image is guided by a constant map. What
# remains of a gain is local crops, redrawn pairs, and weights that grow with a crop's size.
_base_ = ['../sgcl_r50_coco.py']

train_pipeline = [
    dict(type='LoadSceneImage'), dict(type='LoadSaliency', source='uniform'), {{_base_.pair}},
    {{_base_.local_crops}}, {{_base_.photometric_draw}}, dict(type='ScoreCrops'), dict(type='PackPair')
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
