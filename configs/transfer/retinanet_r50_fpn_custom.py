"""RetinaNet, ResNet-50 FPN, on your own photos annotated in COCO format, on one GPU; classes come from the json.

python tools/train.py configs/transfer/retinanet_r50_fpn_custom.py --cfg-options \
    dataset_from_json.train=train.json dataset_from_json.val=val.json dataset_from_json.images=photos \
    model.backbone.init_cfg.checkpoint=backbone.pth

8 GPUs: tools/dist_train.sh with --auto-scale-lr. Needs this project's tools/train.py, which fills in the classes.
"""

_base_ = ["./retinanet_r50_fpn_syncbn_1x_coco.py"]

# images: the folder that the file_name entries are relative to; val_images where validation photos lie elsewhere;
# classes: names of some categories to detect these alone
dataset_from_json = dict(
    train="data/custom/train.json", val="data/custom/val.json", images="data/custom/images", val_images=None, classes=None
)

train_dataloader = dict(batch_size=4, num_workers=4)
optim_wrapper = dict(optimizer=dict(lr=0.0025), clip_grad=dict(max_norm=35, norm_type=2))
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(checkpoint=dict(save_best="coco/bbox_mAP", max_keep_ckpts=3), logger=dict(interval=10))
