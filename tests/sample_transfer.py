"""Small data and settings for runs of the transfer configs."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmsscl.engine.config import load_config
from tests.sample_runs import small_detector_options, write_coco

ANNOTATION = """<annotation><filename>{name}.jpg</filename>
<size><width>96</width><height>96</height><depth>3</depth></size>
<object><name>{kind}</name><difficult>{difficult}</difficult>
<bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>
</annotation>
"""


NO_CHECKPOINT = "interval=-1, save_last=False, save_best=None"


def write_voc(folder: Path, count: int = 4) -> Path:
    """Write VOCdevkit's layout: VOC2007 (trainval, test) and VOC2012 (trainval), one rectangle a photo.

    The last photo of each list is marked as difficult. Coordinates are 1-based and include the last pixel, as VOC's do.

    Returns:
        The folder that holds VOC2007 and VOC2012.
    """
    generator = np.random.default_rng(2)
    for year, splits in (("VOC2007", ("trainval", "test")), ("VOC2012", ("trainval",))):
        root = folder / year
        for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (root / part).mkdir(parents=True)
        for split in splits:
            names = [f"{split}{index:06d}" for index in range(count)]
            (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
            for index, name in enumerate(names):
                x, y = (int(value) for value in generator.integers(0, 50, 2))
                picture = np.full((96, 96, 3), 90, np.uint8)
                picture[y : y + 40, x : x + 40] = 200 * (index % 2)
                cv2.imwrite(str(root / "JPEGImages" / f"{name}.jpg"), picture)
                values = dict(kind=("car", "dog")[index % 2], difficult=int(index == count - 1), name=name)
                text = ANNOTATION.format(xmin=x + 1, ymin=y + 1, xmax=x + 40, ymax=y + 40, **values)
                (root / "Annotations" / f"{name}.xml").write_text(text)
    return folder


def small_run(config: Path, folder: Path, backbone: Path) -> tuple[Path, dict[str, Any]]:
    """What makes any transfer config take two steps and evaluate, in seconds.

    Args:
        config: Of configs/transfer.
        folder: For the data, and for a config that points at them.
        backbone: A ResNet-18.

    Returns:
        A config that inherits from it, and options.
    """
    settings = load_config(config)
    voc = settings.train_cfg.get("max_iters") is not None
    # writing a checkpoint would be most of such a run
    leaf = f"_base_ = [{str(config)!r}]\ndefault_hooks = dict(checkpoint=dict({NO_CHECKPOINT}))\n"
    options = {key: value for key, value in small_detector_options(backbone).items() if _fits(settings, key)}
    if voc:
        options |= _voc_options(settings, write_voc(folder / "VOCdevkit"))
    else:
        leaf += f"dataset_from_json = dict({_from_json(folder)})\n"
    if settings.train_dataloader.dataset.get("times"):
        options["train_dataloader.dataset.times"] = 1
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        options |= dict(_scales(settings[loader].dataset, f"{loader}.dataset"))
    options |= small_heads(settings)
    file = folder / config.name
    file.write_text(leaf, encoding="utf-8")
    return file, options


def _from_json(folder: Path) -> str:
    return ", ".join(f"{key.rsplit('.', 1)[1]}={value!r}" for key, value in write_coco(folder).items())


def _fits(settings: Any, key: str) -> bool:
    """Whether an option is of this detector: some have no FPN, no RPN or no epochs. Scales are set elsewhere."""
    node: Any = settings.to_dict()
    for name in key.split(".")[:-1]:
        node = node.get(name) if isinstance(node, dict) else None
    epochs = key == "train_cfg.max_epochs" and settings.train_cfg.get("max_iters") is not None
    return node is not None and "pipeline" not in key and not epochs


def _voc_options(settings: Any, root: Path) -> dict[str, Any]:
    options: dict[str, Any] = {"train_cfg.max_iters": 2, "train_cfg.val_interval": 2}
    options |= {f"train_dataloader.dataset.datasets.{index}.data_root": f"{root}/" for index in (0, 1)}
    options |= {f"{evaluator}.iou_thrs": [0.5, 0.75] for evaluator in ("val_evaluator", "test_evaluator")}
    options |= {f"{loader}.dataset.data_root": f"{root}/" for loader in ("val_dataloader", "test_dataloader")}
    return options


def _scales(node: Any, place: str) -> Any:
    """Options that make every resizing below a data set one to 96 pixels."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "scale":
                yield f"{place}.{key}", (96, 96)
            elif key == "scales":
                yield f"{place}.{key}", [(96, 96), (128, 128)]
            else:
                yield from _scales(value, f"{place}.{key}")
    elif isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from _scales(item, f"{place}.{index}")


def small_heads(settings: Any) -> dict[str, Any]:
    """Options for narrow heads and few regions, in which most of a small run's time would go.

    Args:
        settings: The config of a detector, loaded. Where no FPN evens its channels out, they become ResNet-18's.
    """
    model = settings.model.to_dict()
    if not model.get("neck"):
        heads = {"shared_head.depth": 18, "bbox_head.in_channels": 512, "bbox_roi_extractor.out_channels": 256}
        options: dict[str, Any] = {f"model.roi_head.{key}": value for key, value in heads.items()}
        options |= {"model.rpn_head.in_channels": 256, "model.rpn_head.feat_channels": 64}
    else:
        options = {"model.neck.out_channels": 32}
        for key in ("rpn_head", "roi_head", "bbox_head"):
            options |= dict(_narrow(model.get(key), f"model.{key}"))
    if not model.get("roi_head"):
        # its scores start near 0.01: all of them count
        return options | {"model.test_cfg.score_thr": 0.0, "model.test_cfg.nms_pre": 50}
    stages = model["train_cfg"]["rcnn"]
    places = [f"model.train_cfg.rcnn.{index}" for index in range(len(stages))] if isinstance(stages, list) else None
    options |= {f"{place}.sampler.num": 8 for place in places or ["model.train_cfg.rcnn"]}
    return options | {"model.train_cfg.rpn_proposal.max_per_img": 20, "model.test_cfg.rpn.max_per_img": 4}


def _narrow(node: Any, place: str) -> Any:
    if isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, (dict, list)):
                yield from _narrow(value, f"{place}.{key}")
            elif key.endswith("_channels"):
                yield f"{place}.{key}", 32
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from _narrow(item, f"{place}.{index}")
