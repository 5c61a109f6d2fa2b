"""Small inputs for the tests of whole runs: photos, a COCO json, a pretraining config."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS as MMENGINE_MODELS

import mmsscl.registry  # noqa: F401
from mmsscl.registry import MODELS

ROOT = Path(__file__).resolve().parents[1]

PRETRAINING = """
default_scope = "mmsscl"
norm_cfg = dict(type="SyncBN")
model = dict(
    type="SCRL",
    data_preprocessor=dict(
        type="PairDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(type="mmpretrain.ResNet", depth=18, norm_cfg=norm_cfg, out_indices=(3,)),
    neck=dict(type="RegionNeck", in_channels=512, hidden_channels=32, out_channels=16, stride=32, norm_cfg=norm_cfg),
    head=dict(type="RegionPredictHead", in_channels=16, hidden_channels=32, out_channels=16, norm_cfg=norm_cfg))
views = [dict(type="RandomAreaCrop", area=(0.5, 1.0), flip=0.5)] * 2
color = dict(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, jitter_prob=0.8, gray_prob=0.2)
photometric = [
    dict(**color, blur="resize", blur_prob=1.0, solarize_prob=0.0),
    dict(**color, blur="resize", blur_prob=0.1, solarize_prob=0.2)]
pipeline = [
    dict(type="LoadSceneImage"),
    dict(type="SpatialConsistentPair", size=64, views=views,
         boxes=dict(type="GridBoxes", num_boxes=4, min_size=8, max_iou=0.5)),
    dict(type="DrawPhotometric", views=photometric),
    dict(type="PackPair")]
train_dataloader = dict(
    batch_size=4, num_workers=0, drop_last=True, sampler=dict(type="EpochIndexSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="SceneImages", data_root="{photos}", pipeline=pipeline))
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="LARS", lr=0.1, momentum=0.9, weight_decay=1e-6))
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=1)
auto_scale_lr = dict(enable=False, base_batch_size=16)
default_hooks = dict(
    runtime_info=dict(type="DeferredRuntimeInfoHook"), logger=dict(type="LoggerHook", interval=1),
    checkpoint=dict(type="CheckpointHook", interval=1))
custom_hooks = [dict(type="MomentumUpdateHook", momentum=0.99)]
randomness = dict(seed=0)
"""

# A ResNet-18 of an eighth of the width.
NARROW = """
model["backbone"].update(base_channels=8, stem_channels=8)
model["neck"].update(in_channels=64)
"""

# SGCL over SCRL: boxes and crops drawn by saliency, maps made before every epoch but the first and the last.
GUIDED = """
model.update(type="SGCL", regions="boxes")
model["head"].update(type="WeightedPredictHead")
views = [dict(type="SaliencyCrop", area=(0.2, 0.6), flip=0.5)] * 2
train_dataloader["dataset"]["pipeline"] = [
    dict(type="LoadSceneImage"),
    dict(type="LoadSaliency"),
    dict(type="SpatialConsistentPair", size=64, views=views, max_iou=0.8,
         boxes=dict(type="SaliencyBoxes", num_boxes=4, min_size=8, max_iou=0.5)),
    dict(type="DrawPhotometric", views=photometric),
    dict(type="ScoreCrops"),
    dict(type="PackPair")]
custom_hooks.append(dict(
    type="SaliencyRefreshHook", warmup_epochs=1, ramp_epochs=1, interval=1, image_size=192, map_size=6, batch_size=4))
"""


def write_photos(folder: Path, count: int = 8, size: int = 96) -> Path:
    """Write ``count`` JPEGs of coarse colour noise."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for index in range(count):
        coarse = generator.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{index}.jpg"), cv2.resize(coarse, (size, size)))
    return folder


def write_pretraining_config(folder: Path, photos: int = 8, more: str = "") -> Path:
    """Write a tiny SCRL config, changed by the lines of ``more``, and the photos it reads, into a folder."""
    images = write_photos(folder / "photos", photos)
    file = folder / "tiny_scrl.py"
    file.write_text(PRETRAINING.replace("{photos}", str(images)) + more, encoding="utf-8")
    return file


def write_coco(folder: Path, classes: tuple[str, ...] = ("red", "green"), count: int = 4) -> dict[str, Any]:
    """Write coloured rectangles with boxes and polygons.

    Category ids run against the order of the list, as real files have them.

    Returns:
        Options that point a custom config at the files.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(1)
    records, annotations = [], []
    for index in range(count):
        picture = np.full((96, 96, 3), 90, np.uint8)
        for position in range(len(classes)):
            x, y = (int(value) for value in generator.integers(0, 50, 2))
            width, height = (int(value) for value in generator.integers(24, 44, 2))
            picture[y : y + height, x : x + width] = 80 * (position + 1)
            polygon = [x, y, x + width, y, x + width, y + height, x, y + height]
            annotations.append(
                dict(id=len(annotations) + 1, image_id=index + 1, category_id=50 - position, iscrowd=0,
                     bbox=[x, y, width, height], area=width * height, segmentation=[polygon])
            )  # fmt: skip
        cv2.imwrite(str(images / f"{index}.jpg"), picture)
        records.append(dict(id=index + 1, file_name=f"{index}.jpg", height=96, width=96))
    categories = [dict(id=50 - position, name=name) for position, name in enumerate(classes)]
    text = json.dumps(dict(images=records, annotations=annotations, categories=categories))
    for split in ("train", "val"):
        (folder / f"{split}.json").write_text(text, encoding="utf-8")
    return {
        "dataset_from_json.train": str(folder / "train.json"),
        "dataset_from_json.val": str(folder / "val.json"),
        "dataset_from_json.images": str(images),
    }


def small_detector_options(backbone_file: Path | None) -> dict[str, Any]:
    """Options that make a transfer config run in seconds: ResNet-18, 96-pixel images, no worker processes."""
    options: dict[str, Any] = {
        "model.backbone.depth": 18,
        "model.neck.in_channels": [64, 128, 256, 512],
        "train_dataloader.batch_size": 2,
        "train_dataloader.dataset.pipeline.2.scale": (96, 96),
        "val_dataloader.dataset.pipeline.1.scale": (96, 96),
        "test_dataloader.dataset.pipeline.1.scale": (96, 96),
        "model.test_cfg.rpn.nms_pre": 50,
        "model.train_cfg.rpn_proposal.nms_pre": 50,
        "train_cfg.max_epochs": 1,
        "default_hooks.logger.interval": 1,
    }
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        options |= {f"{loader}.num_workers": 0, f"{loader}.persistent_workers": False}
    if backbone_file is None:
        options |= {"model.backbone.init_cfg": None, "custom_hooks.0.allow_random": True}
    else:
        options["model.backbone.init_cfg.checkpoint"] = str(backbone_file)
    return options


def write_backbone(file: Path, depth: int = 18, **meta: Any) -> Path:
    """Write an exported backbone with random weights."""
    torch.manual_seed(depth)
    backbone = MODELS.build(dict(type="mmpretrain.ResNet", depth=depth))
    content = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], channel_order="RGB")
    torch.save(dict(state_dict=backbone.state_dict(), meta=content | meta), file)
    return file


def write_checkpoint(file: Path, depth: int = 18, prefixes: tuple[str, ...] = ("backbone.", "target.backbone.")) -> Path:
    """Write a checkpoint as mmengine's runner does, with different weights for each prefix."""
    config = Config(
        dict(
            default_scope="mmsscl",
            model=dict(
                type="SCRL",
                data_preprocessor=dict(
                    type="PairDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
                ),
                backbone=dict(
                    type="mmpretrain.ResNet",
                    depth=depth,
                    norm_cfg=dict(type="SyncBN"),
                    out_indices=(3,),
                    init_cfg=dict(type="Pretrained", checkpoint="elsewhere.pth"),
                ),
            ),
        )
    )
    state = {}
    for seed, prefix in enumerate(prefixes):
        torch.manual_seed(seed)
        backbone = MMENGINE_MODELS.build(dict(type="mmpretrain.ResNet", depth=depth))
        backbone.init_weights()
        state |= {prefix + name: value for name, value in backbone.state_dict().items()}
    torch.save(dict(state_dict=state, meta=dict(cfg=config.pretty_text, epoch=1)), file)
    return file
