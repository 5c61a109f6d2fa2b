# Faster R-CNN that CPU cores can fine-tune: narrow FPN and heads, few proposals, small anchors. The backbone trains
# whole, batch norm included: frozen statistics cost self-supervised weights more than the method gains.
_base_ = ['mmdet::_base_/models/faster-rcnn_r50_fpn.py']

model = dict(
    backbone=dict(
        depth=18,
        frozen_stages=-1,
        norm_eval=False,
        norm_cfg=dict(type='BN', requires_grad=True),
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/backbone.pth')),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(type='mmsscl.Float32RoIExtractor', out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=256)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=300), rcnn=dict(sampler=dict(num=64))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=300)))

custom_imports = dict(imports=['mmsscl.models.roi_extractors'], allow_failed_imports=False)
custom_hooks = [dict(type='mmsscl.BackboneWeightsHook')]
