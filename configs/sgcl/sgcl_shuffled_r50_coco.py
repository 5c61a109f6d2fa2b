# Control of sgcl_r50_coco.py: each image is guided by another image's map. What
# remains of a gain is no saliency of the image.
_base_ = ['../sgcl_r50_coco.py']

train_pipeline = [
    dict(type='LoadSceneImage'), dict(type='LoadSaliency', source='shuffled'), {{_base_.pair}},
    {{_base_.local_crops}}, {{_base_.photometric_draw}}, dict(type='ScoreCrops'), dict(type='PackPair')
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
