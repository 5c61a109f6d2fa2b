# SGCL over BYOL: the same networks, weighted losses, and a predictor for the local crops. Built from the abstract of
# arXiv 2302.11461; the constants are ours.
_base_ = ['byol_r50.py']

model = dict(
    type='SGCL',
    regions='global',
    head=dict(type='WeightedPredictHead'),
    local_head=dict(
        type='WeightedPredictHead',
        in_channels=256,
        hidden_channels=4096,
        out_channels=256,
        norm_cfg=dict(type='SyncBN')))
