"""What pretrained_r50.py is for FPN detectors, for those on C4 features, which split the ResNet.

conv1 to layer3 are `backbone`, layer4 works on pooled regions as `roi_head.shared_head`, with the extra batch norm behind
it that MoCo's protocol has. Both are filled from the file of the backbone, and the hook compares both with it.
"""

_base_ = ["./pretrained_r50.py"]

custom_imports = dict(
    imports=["mmsscl.models.roi_extractors", "mmsscl.models.detectors", "mmsscl.evaluation.voc_metric"]
)

c4 = dict(
    type="mmsscl.C4FasterRCNN",
    # mmdet's C4 configs are for a BGR backbone of another kind
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(_base_.backbone, style="pytorch"),
    roi_head=dict(
        shared_head=dict(
            type="mmsscl.ResLayerExtraNorm",
            norm_cfg=_base_.sync_bn,
            norm_eval=False,
            style="pytorch",
            init_cfg=None,
        ),
        bbox_roi_extractor=_base_.roi_extractor,
    ),
)

custom_hooks = [
    dict(
        type="mmsscl.BackboneWeightsHook",
        more_paths=["roi_head.shared_head"],
        allow_missing=[r"^norm\."],
        allow_unexpected=[r"^fc\."],
    )
]
