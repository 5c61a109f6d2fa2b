# Baseline of scrl_sgcl_r50_coco.py: whole views and matched boxes without any saliency. What scrl_sgcl_r50_coco.py gains
# over scrl_r50_coco.py and shares with this config comes from the term of the whole views.
_base_ = ['../scrl_sgcl_r50_coco.py']

train_pipeline = [
    dict(type='LoadSceneImage'),
    dict(type='SpatialConsistentPair', size=224, views={{_base_.views}}, boxes={{_base_.boxes}}, max_iou=0.8),
    {{_base_.photometric_draw}}, dict(type='PackPair')
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(weigh=False)
custom_hooks = [dict(type='MomentumUpdateHook', momentum=0.996)]
