"""Point a detection config at the user's own COCO-format json, classes included."""

from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmsscl.engine.check_coco import read_coco
from mmsscl.errors import InputError
from mmsscl.names import did_you_mean, near_names

KEYS = ("train", "val", "images", "val_images", "classes")


def apply_dataset_from_json(config: Config) -> None:
    """Fill datasets, evaluators and every ``num_classes`` of a detection config from its ``dataset_from_json``.

    ``dataset_from_json = dict(train="train.json", val="val.json", images="photos/", val_images=None, classes=None)`` at
    the top level of a config: class names come from the ``categories`` of ``train``, in the file's order; ``classes``
    picks some of them by name (objects of the others are background then). Images are searched in ``images``
    (``val_images`` for the validation set where it differs). A config without the key is left alone.

    Args:
        config: Changed in place: ``metainfo.classes``, ``ann_file``, ``data_prefix`` and ``data_root`` of the three data
            loaders, ``ann_file`` of the evaluators, ``num_classes`` of the model's heads.

    Raises:
        InputError: If a file, folder, image, category or annotation that it needs is missing, or the two files list
            their categories differently.
    """
    given = config.get("dataset_from_json")
    if given is None:
        return
    unknown = [key for key in given if key not in KEYS]
    if unknown:
        raise InputError(f"dataset_from_json: unknown key {unknown[0]!r}. Its keys are {', '.join(KEYS)}.")
    train_file, val_file = _file(given, "train"), _file(given, "val")
    train_images = _folder(given, "images")
    val_images = _folder(given, "val_images") if given.get("val_images") else train_images
    train, val = read_coco(train_file), read_coco(val_file)
    classes = _classes(train, train_file)
    _require_same_classes(classes, _classes(val, val_file), train_file, val_file)
    classes = _chosen_classes(given.get("classes"), classes, train_file)
    masks = _needs_masks(config)
    for content, file, images in ((train, train_file, train_images), (val, val_file, val_images)):
        _require_usable(content, file, images, classes, masks)
    places = {
        "train_dataloader": (train_file, train_images),
        "val_dataloader": (val_file, val_images),
        "test_dataloader": (val_file, val_images),
    }
    for loader, (file, images) in places.items():
        if config.get(loader) is None:
            continue
        dataset = _innermost_dataset(config[loader]["dataset"])
        dataset["data_root"] = ""
        dataset["ann_file"] = str(file)
        dataset["data_prefix"] = dict(img=str(images))
        dataset["metainfo"] = dict(classes=tuple(classes))
    for evaluator in ("val_evaluator", "test_evaluator"):
        for metric in _as_list(config.get(evaluator)):
            metric["ann_file"] = str(val_file)
    set_num_classes(config["model"], len(classes))


def _file(given: dict[str, Any], key: str) -> Path:
    value = given.get(key)
    if not value:
        raise InputError(
            f"dataset_from_json.{key}: not given. Set it to a COCO-format json, in the config or by "
            f"--cfg-options dataset_from_json.{key}=PATH."
        )
    if not Path(value).is_file():
        raise InputError(
            f"dataset_from_json.{key}: {value} does not exist. Set it to a COCO-format json, in the config or by "
            f"--cfg-options dataset_from_json.{key}=PATH."
        )
    return Path(value)


def _folder(given: dict[str, Any], key: str) -> Path:
    value = given.get(key)
    if not value or not Path(value).is_dir():
        raise InputError(
            f"dataset_from_json.{key}: {value or 'not given'}: no such folder. Set it to the folder that the json's "
            f"file_name entries are relative to (--cfg-options dataset_from_json.{key}=FOLDER)."
        )
    return Path(value)


def _classes(content: dict[str, Any], file: Path) -> list[str]:
    names = [str(category.get("name", "")) for category in content["categories"]]
    twice = sorted({name for name in names if names.count(name) > 1})
    if "" in names or twice:
        raise InputError(f"{file}: categories need distinct names (repeated or empty: {twice or ['']}). Rename them.")
    return names


def _chosen_classes(chosen: Any, classes: list[str], file: Path) -> list[str]:
    if chosen is None:
        return classes
    chosen = [chosen] if isinstance(chosen, str) else list(chosen)
    for name in chosen:
        if name not in classes:
            near = did_you_mean(near_names(str(name), classes), f"Its categories: {', '.join(classes[:20])}.")
            raise InputError(f"dataset_from_json.classes: {file} has no category {name!r}. {near}")
    if not chosen:
        raise InputError("dataset_from_json.classes: is empty. Name categories of the json, or None for all of them.")
    # mmdet numbers labels in the file's order, whatever the order of the names
    return [name for name in classes if name in chosen]


def _require_same_classes(train: list[str], val: list[str], train_file: Path, val_file: Path) -> None:
    if train == val:
        return
    only_train, only_val = sorted(set(train) - set(val)), sorted(set(val) - set(train))
    if only_train or only_val:
        difference = f"only in {train_file}: {only_train or 'none'}; only in {val_file}: {only_val or 'none'}"
    else:
        difference = f"same names in another order: {train[:5]}... and {val[:5]}..."
    raise InputError(
        f"{val_file}: its categories differ from those of {train_file} ({difference}). Labels are numbered in the file's "
        "order: give both files the same list of categories."
    )


def _require_usable(content: dict[str, Any], file: Path, images: Path, classes: list[str], masks: bool) -> None:
    for image in content["images"]:
        name = image.get("file_name")
        if not name or not (images / str(name)).is_file():
            raise InputError(
                f"{file}: image {name!r} is not in {images}. Set dataset_from_json.images (or val_images) to the folder "
                "that the file_name entries are relative to."
            )
    wanted = {category.get("id") for category in content["categories"] if category["name"] in classes}
    annotations = [annotation for annotation in content["annotations"] if annotation.get("category_id") in wanted]
    if not annotations:
        raise InputError(
            f"{file}: no annotation is of the classes {', '.join(classes[:20])}: nothing to learn or to measure. Give "
            "each annotation the category_id of one of these, or choose others by dataset_from_json.classes."
        )
    if masks and not any(annotation.get("segmentation") for annotation in annotations):
        raise InputError(
            f"{file}: no annotation has a segmentation, and this config trains masks. "
            "Use the Faster R-CNN config, or export polygons."
        )


def _needs_masks(config: Config) -> bool:
    roi_head = config["model"].get("roi_head")
    return bool(isinstance(roi_head, dict) and roi_head.get("mask_head"))


def _innermost_dataset(dataset: dict[str, Any]) -> dict[str, Any]:
    while isinstance(dataset.get("dataset"), dict):
        dataset = dataset["dataset"]
    return dataset


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


def set_num_classes(node: Any, count: int) -> None:
    """Set every ``num_classes`` below a node of a model config, in place, except the RPN's.

    Args:
        node: A model config or a part of it.
        count: Number of classes, background not counted.
    """
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "num_classes":
                node[key] = count
            elif key != "rpn_head":  # foreground or not: one class, whatever the data
                set_num_classes(value, count)
    elif isinstance(node, (list, tuple)):
        for item in node:
            set_num_classes(item, count)
