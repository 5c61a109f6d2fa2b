# BYOL in the same code: the pooled image in place of matched boxes, everything else as in scrl_r50.py.
_base_ = ['scrl_r50.py']

model = dict(
    type='BYOL',
    neck=dict(
        _delete_=True,
        type='GlobalNeck',
        in_channels=2048,
        hidden_channels=4096,
        out_channels=256,
        norm_cfg=dict(type='SyncBN')))
