"""Draw a fine-tuned detector's predictions on a folder of photos: ``mmsscl predict`` and ``tools/predict.py``."""
import argparse
import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import init_default_scope

from mmsscl.datasets.scene_images import SceneImages
from mmsscl.datasets.transforms.loading import read_photo
from mmsscl.engine.config import load_config
from mmsscl.engine.dataset_from_json import set_num_classes
from mmsscl.engine.device import pick_device
from mmsscl.engine.key_value_action import KeyValueAction
from mmsscl.errors import InputError, UnreadableImageError
from mmsscl.visualization.canvas import contact_sheet, write_png
from mmsscl.visualization.detections import draw_detections
from mmsscl.zoo.key_difference import compare_keys, drop_pretrained_init
from mmsscl.zoo.safe_load import load_checkpoint, state_dict_of

_MOST_ON_SHEET = 16


class Prediction(NamedTuple):
    """What a detector found in one photo.

    Attributes:
        path: of the photo.
        image: uint8 (H, W, 3), RGB, upright.
        boxes: float32 (N, 4), xyxy in pixels of ``image``.
        labels: int64 (N,).
        scores: float32 (N,), in [0, 1], all at least the threshold.
        masks: bool (N, H, W), or None for a detector without masks.
    """

    path: str
    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    masks: np.ndarray | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line's arguments to a parser."""
    parser.add_argument("config", help="mmdet config of the detector, for example one of configs/transfer")
    parser.add_argument("checkpoint", help="the fine-tuned detector's checkpoint")
    parser.add_argument("folder", help="folder of photos (JPEG, PNG, WebP; subfolders too)")
    parser.add_argument("--out", default="work_dirs/predictions", help="folder for the pictures (default: %(default)s)")
    parser.add_argument("--score-thr", type=float, default=0.3, help="least score that is drawn (default: %(default)s)")
    parser.add_argument("--max-images", type=int, help="draw this many photos only, the first by path")
    parser.add_argument("--device", help="default: cuda if there is one, else cpu")
    parser.add_argument("--cfg-options", nargs="+", action=KeyValueAction, metavar="KEY=VALUE", help="change the config")


def main(args: argparse.Namespace) -> int:
    """Draw predictions for the photos of ``args.folder`` into ``args.out``.

    Returns:
        0.

    Raises:
        InputError: a missing or empty folder, no readable photo, a config that is no detector's, or a checkpoint that
            does not fit it.
    """
    if not 0 <= args.score_thr <= 1:
        raise InputError(f"--score-thr {args.score_thr} is out of range. Scores lie between 0 and 1.")
    if args.max_images is not None and args.max_images < 1:
        raise InputError(f"--max-images {args.max_images}: ask for at least one photo.")
    logger = MMLogger.get_current_instance()
    photos = SceneImages(data_root=args.folder)
    paths = [photos.path(index) for index in range(len(photos))][: args.max_images]
    config = load_config(args.config, args.cfg_options)
    detector = build_detector(config, args.checkpoint, pick_device(args.device))
    classes = detector.dataset_meta["classes"]

    out, drawn, found = Path(args.out), 0, 0
    sheet: list[np.ndarray] = []
    for prediction in predict(detector, config, paths, args.score_thr):
        picture = draw_detections(prediction.image, *prediction[2:5], classes, prediction.masks)
        # the folder's layout is kept: photos of one name in two subfolders do not overwrite each other
        name = Path(prediction.path).relative_to(Path(args.folder).expanduser())
        write_png(out / name.parent / f"{name.stem}{name.suffix.replace('.', '_')}.png", picture)
        drawn, found = drawn + 1, found + len(prediction.scores)
        if len(sheet) < _MOST_ON_SHEET:
            sheet.append(picture)
    if drawn == 0:
        raise InputError(f"{args.folder}: none of its {len(paths)} photos can be read (see the warnings above).")
    path = write_png(out / "contact_sheet.png", contact_sheet(sheet, columns=4, tile_width=400))
    logger.info(f"{found} objects with a score of {args.score_thr:g} or more in {drawn} photos; pictures in {out}")
    logger.info(f"the first {len(sheet)} together: {path}")
    return 0


def build_detector(config: Config, checkpoint: str, device: str | torch.device = "cpu") -> BaseModel:
    """Build a detector and fill it from a checkpoint, all of it.

    Args:
        config: an mmdet config.
        checkpoint: path of a checkpoint of the whole detector.
        device: "cpu", "cuda", "cuda:1", ...

    Returns:
        The detector in eval mode, with ``dataset_meta["classes"]``.

    Raises:
        InputError: the config is no detector's, or the checkpoint cannot be read, is a backbone only, or belongs to
            another model.
    """
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    content = load_checkpoint(checkpoint)
    tensors = state_dict_of(content, checkpoint)
    register_all_modules(init_default_scope=False)
    init_default_scope(config.get("default_scope", "mmdet"))
    model_config = copy.deepcopy(config.get("model") or {})
    if not any(key in model_config for key in ("bbox_head", "roi_head", "rpn_head", "panoptic_head", "mask_head")):
        raise InputError(
            f"config {config.filename}: its model ({model_config.get('type')}) is not a detector. "
            "Give the mmdet config that the checkpoint was fine-tuned with."
        )
    drop_pretrained_init(model_config)
    classes = _class_names(content, config)
    if config.get("dataset_from_json") is not None and classes:
        # the json may be out of reach where the detector is used; the checkpoint knows the classes
        set_num_classes(model_config, len(classes))
    detector = revert_sync_batchnorm(MODELS.build(model_config))
    _fill(detector, tensors, checkpoint, config)
    detector.dataset_meta = {"classes": classes}
    return detector.to(device).eval()


def _fill(detector: torch.nn.Module, tensors: dict[str, torch.Tensor], checkpoint: str, config: Config) -> None:
    wanted = detector.state_dict()
    difference = compare_keys(wanted, tensors)
    # further tensors (an EMA copy, a normaliser) do no harm, a tensor that is not filled does
    if difference.missing or difference.reshaped:
        hint = "It looks like a backbone only; fine-tune a detector from it first. " if not any(
            name.startswith(("rpn_head", "roi_head", "bbox_head", "neck.")) for name in tensors
        ) else ""  # fmt: skip
        raise InputError(
            f"checkpoint {checkpoint}: does not fit the detector of {config.filename} ({difference.describe()}). {hint}"
            "Give the checkpoint that was fine-tuned with this config."
        )
    detector.load_state_dict({name: tensors[name] for name in wanted})


def _class_names(content: dict[str, Any], config: Config) -> tuple[str, ...]:
    """Names of the classes: the checkpoint's own, else the config's, else those of the config's data set class."""
    from mmdet.registry import DATASETS

    meta = content.get("meta") or {}
    dataset = (config.get("test_dataloader") or {}).get("dataset") or {}
    known = DATASETS.get(dataset["type"]) if isinstance(dataset.get("type"), str) else None
    sources = (meta.get("dataset_meta"), dataset.get("metainfo"), getattr(known, "METAINFO", None))
    for source in sources:
        names = (source or {}).get("classes") or (source or {}).get("CLASSES")
        if names:
            return (names,) if isinstance(names, str) else tuple(names)
    return ()


def predict(
    detector: BaseModel, config: Config, paths: Sequence[str], score_thr: float = 0.3
) -> Iterator[Prediction]:
    """Run a detector on photos, one by one.

    Args:
        detector: from :func:`build_detector`.
        config: its config; the test pipeline is used, without what it does to annotations.
        paths: of the photos. One that cannot be read is left out with a warning.
        score_thr: least score of an object that is kept.

    Yields:
        What was found in each readable photo.
    """
    from mmcv.transforms import Compose
    from mmdet.utils import get_test_pipeline_cfg

    steps = [step for step in copy.deepcopy(get_test_pipeline_cfg(config)) if "LoadAnnotations" not in step["type"]]
    steps[0] = {"type": "mmdet.LoadImageFromNDArray"}
    pipeline = Compose(steps)
    for path in paths:
        try:
            image = read_photo(path).decode()
        except UnreadableImageError as error:
            MMLogger.get_current_instance().warning(f"left out: {error}")
            continue
        data = pipeline({"img": np.ascontiguousarray(image[..., ::-1]), "img_id": 0})  # mmdet reads BGR
        with torch.no_grad():
            sample = detector.test_step({"inputs": [data["inputs"]], "data_samples": [data["data_samples"]]})[0]
        found = sample.pred_instances
        found = found[found.scores >= score_thr].cpu().numpy()
        masks = found.masks.astype(bool) if "masks" in found else None
        yield Prediction(path, image, found.bboxes, found.labels, found.scores, masks)
