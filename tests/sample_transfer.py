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
    leaf = f"_base_ = [{str(config)!r}]\n"
    options = {key: value for key, value in small_detector_options(backbone).items() if _fits(settings, key)}
    if voc:
        options |= _voc_options(settings, write_voc(folder / "VOCdevkit"))
    else:
        leaf += f"dataset_from_json = dict({_from_json(folder)})\n"
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        options |= dict(_scales(settings[loader].dataset, f"{loader}.dataset"))
    options |= _small_heads(settings)
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


def _small_heads(settings: Any) -> dict[str, Any]:
    """Few regions for two-stage detectors; ResNet-18's channels where no FPN evens them out."""
    model = settings.model
    if model.get("roi_head") is None:
        return {}
    stages = model.train_cfg.rcnn
    places = [f"model.train_cfg.rcnn.{index}" for index in range(len(stages))] if isinstance(stages, list) else None
    options: dict[str, Any] = {f"{place}.sampler.num": 16 for place in places or ["model.train_cfg.rcnn"]}
    options |= {"model.train_cfg.rpn_proposal.max_per_img": 50, "model.test_cfg.rpn.max_per_img": 20}
    if model.roi_head.get("shared_head"):
        options |= {
            "model.roi_head.shared_head.depth": 18,
            "model.roi_head.bbox_head.in_channels": 512,
            "model.roi_head.bbox_roi_extractor.out_channels": 256,
            "model.rpn_head.in_channels": 256,
            "model.rpn_head.feat_channels": 64,
        }
    return options
