# sgcl_r50_coco.py over MoCo v2: InfoNCE at temperature 0.2 over a queue of 65,536 keys, no predictors. The target runs
# on averaged norms (EMAN) in place of MoCo's shuffled ones; projector and optimizer stay those of the BYOL base.
_base_ = ['../sgcl_r50_coco.py']

contrastive = dict(
    _delete_=True, type='WeightedContrastiveHead', channels=128, queue_size=65536, temperature=0.2)
model = dict(
    target_norm='average',
    neck=dict(hidden_channels=2048, out_channels=128),
    head=contrastive,
    local_head=contrastive)
