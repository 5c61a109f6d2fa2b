# BYOL on COCO as ORL (NeurIPS 2021) runs it: SGD, lr 0.4 at batch 512, weight decay 1e-4, EMA .99 to 1, 4 warm-up
# epochs, crop area (.08, 1), Gaussian blur; the de-facto COCO baseline.
_base_ = ['../byol_r50_coco.py']

views = [dict(type='RandomAreaCrop', area=(0.08, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5)] * 2
color = dict(
    brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, jitter_prob=0.8, gray_prob=0.2,
    blur='gaussian', sigma=(0.1, 2.0))

train_pipeline = [
    dict(type='LoadSceneImage'),
    dict(type='SpatialConsistentPair', size=224, views=views, boxes={{_base_.boxes}}),
    dict(
        type='DrawPhotometric',
        views=[dict(color, blur_prob=1.0, solarize_prob=0.0), dict(color, blur_prob=0.1, solarize_prob=0.2)]),
    dict(type='PackPair'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='SGD', lr=0.4, momentum=0.9, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, begin=0, end=4, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=796, eta_min=0.0, begin=4, end=800, convert_to_iter_based=True),
]
custom_hooks = [dict(type='MomentumUpdateHook', momentum=0.99)]
