# The authors' 1000-epoch ImageNet recipe: batch 8192 on 32 GPUs, lr 0.2 x 8192 / 256, EMA momentum .996.
_base_ = ['../scrl_r50_coco.py']

train_dataloader = dict(batch_size=256, dataset=dict(data_root='data/imagenet/train/'))
optim_wrapper = dict(optimizer=dict(lr=6.4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, begin=0, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=990, eta_min=0.0, begin=10, end=1000, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=1000)
auto_scale_lr = dict(base_batch_size=8192)
