"""What every transfer config shares: the pretrained backbone, trained whole, and the check that it was loaded.

Names for the leaves to take up (`_base_.backbone`, `_base_.sync_bn`): mmengine lets no two bases set the same key, and
the detector comes from mmdet.

mmdet's base configs freeze the first stage and keep batch norm in evaluation mode. Self-supervised weights lose more by
that than the method gains (27.0 instead of 40.3 AP reported in mmselfsup#89). As in MoCo's and SCRL's detectron2
protocol, all of the backbone is trained with SyncBN, and FPN, the box head (4 convolutions, 1 linear) and the mask head
have SyncBN too. On one process mmengine turns SyncBN into BN.
"""

custom_imports = dict(imports=["mmsscl.models.roi_extractors"], allow_failed_imports=False)

# the file of tools/export_backbone.py; another: --cfg-options model.backbone.init_cfg.checkpoint=FILE
pretrained = "work_dirs/scrl_r50_coco/backbone.pth"

sync_bn = dict(type="SyncBN", requires_grad=True)
# boxes stay exact under --amp: mmdet would round them to the features' type
roi_extractor = dict(type="mmsscl.Float32RoIExtractor")
backbone = dict(
    frozen_stages=-1,
    norm_cfg=sync_bn,
    norm_eval=False,
    init_cfg=dict(type="Pretrained", checkpoint=pretrained),
)

# stops the run when the file has not filled the whole backbone; random weights on purpose:
# --cfg-options model.backbone.init_cfg=None custom_hooks.0.allow_random=True
custom_hooks = [dict(type="mmsscl.BackboneWeightsHook", allow_unexpected=[r"^fc\."])]
