# SCRL (CVPR 2021), section 3 and the authors' released settings: matched boxes pooled from layer4, no global term.
norm_cfg = dict(type='SyncBN')

model = dict(
    type='SCRL',
    data_preprocessor=dict(
        type='PairDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        channels_last=True),
    backbone=dict(type='mmpretrain.ResNet', depth=50, norm_cfg=norm_cfg, norm_eval=False, out_indices=(3, )),
    neck=dict(
        type='RegionNeck', in_channels=2048, hidden_channels=4096, out_channels=256, stride=32, norm_cfg=norm_cfg),
    head=dict(
        type='RegionPredictHead', in_channels=256, hidden_channels=4096, out_channels=256, norm_cfg=norm_cfg),
    channels_last=True)
