# The authors' 1000-epoch recipe at COCO's customary 800 epochs: lr 0.2 x batch / 256 at batch 512, cosine to zero.
optim_wrapper = dict(
    type='BFloat16OptimWrapper', optimizer=dict(type='LARS', lr=0.4, momentum=0.9, weight_decay=1.5e-6))

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, begin=0, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=790, eta_min=0.0, begin=10, end=800, convert_to_iter_based=True),
]

train_cfg = dict(type='ResumableEpochLoop', max_epochs=800)
custom_hooks = [dict(type='MomentumUpdateHook', momentum=0.996)]
auto_scale_lr = dict(enable=False, base_batch_size=512)
