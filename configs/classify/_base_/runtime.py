"""mmpretrain's runtime, with few checkpoints kept, and where the photos lie."""

_base_ = ["mmpretrain::_base_/default_runtime.py"]

custom_imports = dict(imports=["mmsscl.registry"], allow_failed_imports=False)
default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=10, max_keep_ckpts=3))
val_cfg = dict()
test_cfg = dict()

# your own photos, a folder for each class: dataset_from_folders.train=FOLDER dataset_from_folders.val=FOLDER; the number of
# classes is counted. label_list: the photos to train on (tools/data/split_labels.py); None: all
dataset_from_folders = dict(train=None, val=None, label_list=None)
