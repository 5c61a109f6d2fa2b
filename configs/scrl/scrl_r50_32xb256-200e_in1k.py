# The authors' 200-epoch ImageNet recipe: lr 0.45 x 8192 / 256, weight decay 1e-6, EMA momentum .97.
_base_ = ['scrl_r50_32xb256-1000e_in1k.py']

optim_wrapper = dict(optimizer=dict(lr=14.4, weight_decay=1e-6))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, begin=0, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=190, eta_min=0.0, begin=10, end=200, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=200)
custom_hooks = [dict(type='MomentumUpdateHook', momentum=0.97)]
