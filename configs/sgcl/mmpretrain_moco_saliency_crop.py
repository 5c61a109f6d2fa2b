# MoCo v2 of mmpretrain with one transform changed: its crops prefer salient places. The maps are those of a pretraining
# on the same folder of photos (of tools/train.py configs/sgcl_r50_coco.py, say); the hook compares the files.
_base_ = ['mmpretrain::mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py']
custom_imports = dict(imports=['mmsscl.registry'], allow_failed_imports=False)

data_root = 'data/coco/train2017/'
store = 'work_dirs/sgcl_r50_coco/saliency_store.bin'

view_pipeline = [
    dict(
        type='mmsscl.SaliencyRandomResizedCrop',
        scale=224,
        crop_ratio_range=(0.2, 1.0),
        backend='pillow',
        store=store),
    dict(
        type='RandomApply',
        transforms=[dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)],
        prob=0.8),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)),
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5),
    dict(type='RandomFlip', prob=0.5),
]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='MultiView', num_views=2, transforms=[view_pipeline]),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CustomDataset',
        data_root=data_root,
        with_label=False,
        extensions=('.jpg', '.jpeg', '.png', '.webp'),
        pipeline=train_pipeline))
custom_hooks = [dict(type='mmsscl.SaliencyStoreCheckHook')]
