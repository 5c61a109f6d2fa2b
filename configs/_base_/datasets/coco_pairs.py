# Two matched views of unlabelled COCO photos; any folder of photos works: set data_root (labels are never read).
data_root = 'data/coco/train2017/'

views = [dict(type='RandomAreaCrop', area=(0.2, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5)] * 2
boxes = dict(type='GridBoxes', num_boxes=10, min_size=32, max_iou=0.5)
color = dict(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, jitter_prob=0.8, gray_prob=0.2)
photometric = [
    dict(**color, blur='resize', blur_prob=1.0, solarize_prob=0.0),
    dict(**color, blur='resize', blur_prob=0.1, solarize_prob=0.2),
]

train_pipeline = [
    dict(type='LoadSceneImage'),
    dict(type='SpatialConsistentPair', size=224, views=views, boxes=boxes),
    dict(type='DrawPhotometric', views=photometric),
    dict(type='PackPair'),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='EpochIndexSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='SceneImages', data_root=data_root, pipeline=train_pipeline))
