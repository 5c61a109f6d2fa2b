# Control of sgcl_r50_coco.py: each image is guided by one Gaussian at its centre. What
# remains of a gain is the photographer's.
_base_ = ['../sgcl_r50_coco.py']

train_pipeline = [
    dict(type='LoadSceneImage'), dict(type='LoadSaliency', source='gaussian'), {{_base_.pair}},
    {{_base_.local_crops}}, {{_base_.photometric_draw}}, dict(type='ScoreCrops'), dict(type='PackPair')
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
