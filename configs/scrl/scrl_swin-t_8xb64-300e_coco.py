# SCRL with a Swin Transformer (tiny) in place of the ResNet: 8 GPUs x 64 images, 300 epochs, AdamW as Swin is trained.
# Views stay 224 px: the last map is then one window of 7 x 7. Not trained to the end by us.
_base_ = ['../scrl_r50_coco.py']

model = dict(
    backbone=dict(
        _delete_=True, type='mmpretrain.SwinTransformer', arch='tiny', img_size=224, drop_path_rate=0.1, out_indices=(3, )),
    neck=dict(in_channels=768))

# the authors' code has a Swin recipe: lr 0.001 * sqrt(images of all GPUs / 256), here for 512, weight decay 0.05, momentum
# 0.99 (kakaobrain/scrl, config/swin-t); its heads have three layers and a norm behind, ours two and none. --auto-scale-lr
# scales linearly: for another number of images set lr
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1.41e-3, weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0, bias_decay_mult=0.0, custom_keys=dict(relative_position_bias_table=dict(decay_mult=0.0))),
    clip_grad=dict(max_norm=5.0))

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, begin=0, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=290, eta_min=0.0, begin=10, end=300, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=300)
custom_hooks = [dict(type='MomentumUpdateHook', momentum=0.99)]
