"""Linear probe: a frozen ResNet-50 of tools/export_backbone.py and a linear layer, on a folder of photos per class.

python tools/train.py configs/classify/linear_r50_folder.py --cfg-options model.backbone.init_cfg.checkpoint=backbone.pth \
    dataset_from_folders.train=photos/train dataset_from_folders.val=photos/val

MoCo's protocol on one process; the number of classes is counted.
"""

_base_ = ["./linear_r50_in1k_moco.py"]

train_dataloader = dict(batch_size=256)
