# SCRL and SGCL: whole views and boxes through one projector, a predictor for each, boxes weighed by saliency.
_base_ = ['scrl_r50.py']

model = dict(
    type='SGCL',
    regions='both',
    neck=dict(type='GlobalRegionNeck'),
    head=dict(type='WeightedPredictHead'),
    region_head=dict(
        type='WeightedPredictHead',
        in_channels=256,
        hidden_channels=4096,
        out_channels=256,
        norm_cfg=dict(type='SyncBN')))
