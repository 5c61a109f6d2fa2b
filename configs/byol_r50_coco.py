# BYOL as the baseline of scrl_r50_coco.py: the same views, schedule and code; the model alone differs.
_base_ = [
    '_base_/models/byol_r50.py',
    '_base_/datasets/coco_pairs.py',
    '_base_/schedules/lars_800e.py',
    '_base_/default_runtime.py',
]
