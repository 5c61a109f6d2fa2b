# MoCo v2 on the photos of scrl_r18_scenes.py: InfoNCE at temperature 0.2 over a queue of 4,096 keys, no predictor. The
# target runs on averaged norms (EMAN) in place of MoCo's shuffled ones; views, optimizer and projector's width stay BYOL's.
_base_ = ['byol_r18_scenes.py']

model = dict(
    type='SGCL', regions='global', weigh=False, target_norm='average',
    neck=dict(out_channels=128),
    head=dict(_delete_=True, type='WeightedContrastiveHead', channels=128, queue_size=4096, temperature=0.2))
