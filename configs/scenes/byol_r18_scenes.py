# The baseline of scrl_r18_scenes.py: one pooled vector for the whole view, all else the same.
_base_ = ['scrl_r18_scenes.py']

model = dict(
    type='BYOL',
    neck=dict(
        _delete_=True, type='GlobalNeck', in_channels=512, hidden_channels=2048, out_channels=256,
        norm_cfg=dict(type='BN')))
