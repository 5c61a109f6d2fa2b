"""Semi-supervised: a pretrained ResNet-50, fine-tuned with the labels of 1 % of ImageNet, in ORL's and mmselfsup's way.

bash tools/dist_train.sh configs/classify/semi_r50_in1k_1percent.py 4 --cfg-options \
    model.backbone.init_cfg.checkpoint=backbone.pth dataset_from_folders.label_list=1percent.txt

Photos: data/imagenet/train and data/imagenet/val, a folder for each class. 1percent.txt: the list that SimCLR published
(imagenet_subsets of google-research/simclr), or one of tools/data/split_labels.py (--percent 1). 4 processes with 64 photos
each; on one GPU: --cfg-options train_dataloader.batch_size=256. See docs/semi_supervised.md for BYOL's and SimCLR's rates.
"""

_base_ = ["./_base_/semi_r50_20e.py"]

train_dataloader = dict(dataset=dict(label_list="data/imagenet/1percent.txt"))
