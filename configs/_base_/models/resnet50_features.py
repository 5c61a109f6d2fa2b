# A ResNet-50 for features alone, in mmpretrain's own names: what the zoo's entries of others' backbones are built as.
# Images come as OpenMMLab decodes them (BGR) and are brought to the RGB that these backbones were trained on.
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
    backbone=dict(type='ResNet', depth=50),
    neck=dict(type='GlobalAveragePooling'),
    head=None)
