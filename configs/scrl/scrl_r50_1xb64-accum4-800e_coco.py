# One GPU, 64 x 4 = 256 images an optimizer step: twice the steps of scrl_r50_coco.py, so half the lr (0.2 x 256 / 256),
# and an EMA momentum that forgets as fast per image: 0.996 ** (256 / 512) = 0.998.
# Memory: weights, optimizer and saved activations come to 5.8 GiB (tools/benchmark/memory.py counts them; cuDNN's
# workspaces come on top and were not measured).
_base_ = ['../scrl_r50_coco.py']

optim_wrapper = dict(optimizer=dict(lr=0.2), accumulative_counts=4)
custom_hooks = [dict(type='MomentumUpdateHook', momentum=0.998)]
auto_scale_lr = dict(base_batch_size=256)
