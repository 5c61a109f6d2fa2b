# scrl_r50_coco.py on one GPU: 64 images a step, a step of the optimizer every 8 (512 images), so lr and EMA are those
# of the 8-GPU recipe; batch norm sees 64 images (640 boxes) where SyncBN over 8 GPUs sees 512.
# Memory: weights, optimizer and saved activations come to 5.8 GiB (tools/benchmark/memory.py counts them; cuDNN's
# workspaces come on top and were not measured).
_base_ = ['../scrl_r50_coco.py']

optim_wrapper = dict(accumulative_counts=8)
