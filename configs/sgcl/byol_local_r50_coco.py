# Baseline of sgcl_r50_coco.py: the same views, local crops and losses without any saliency. A gain over byol_r50_coco.py
# that this config shares comes from the local crops.
_base_ = ['../sgcl_r50_coco.py']

train_pipeline = [
    dict(type='LoadSceneImage'), {{_base_.pair}}, {{_base_.local_crops}}, {{_base_.photometric_draw}},
    dict(type='PackPair')
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(weigh=False)
custom_hooks = [dict(type='MomentumUpdateHook', momentum=0.996)]
