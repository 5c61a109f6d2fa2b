"""Point a classification config at folders of photos per class, number of classes included."""

from typing import Any

from mmengine.config import Config

from mmsscl.datasets.label_split import class_names
from mmsscl.engine.dataset_from_json import set_num_classes
from mmsscl.errors import InputError

KEYS = ("train", "val", "label_list")
_LOADERS = {"train_dataloader": "train", "val_dataloader": "val", "test_dataloader": "val"}


def apply_dataset_from_folders(config: Config) -> None:
    """Fill data sets, evaluators and ``num_classes`` from ``dataset_from_folders``, and check that labels fit.

    ``dataset_from_folders = dict(train="photos/train", val="photos/val", label_list=None)`` at the top level of a config:
    the subfolders of ``train`` are the classes, and ``label_list`` names the photos to train on (default: all). With
    ``train`` unset nothing is filled in. In either case all ``ClassFolders`` must have the same classes, and as many as the
    head.

    Args:
        config: Changed in place: ``data_root`` and ``label_list`` of the data loaders, ``num_classes`` of the model,
            ``topk`` of evaluators where there are fewer classes.

    Raises:
        InputError: A folder is missing, ``val`` has other classes than ``train``, or the head another number of classes.
    """
    given = config.get("dataset_from_folders")
    if given is not None:
        unknown = [key for key in given if key not in KEYS]
        if unknown:
            raise InputError(f"dataset_from_folders: unknown key {unknown[0]!r}. Its keys are {', '.join(KEYS)}.")
        if given.get("train") or given.get("val"):
            _fill(config, given)
    _require_fitting_labels(config)
    _limit_answers(config)


def _fill(config: Config, given: dict[str, Any]) -> None:
    for key in ("train", "val"):
        if not given.get(key):
            raise InputError(
                f"dataset_from_folders.{key}: not given. Set it to a folder that holds a folder of photos for each class "
                f"(--cfg-options dataset_from_folders.{key}=FOLDER)."
            )
    count = len(class_names(given["train"]))
    for loader, key in _LOADERS.items():
        if config.get(loader) is not None:
            config[loader]["dataset"]["data_root"] = str(given[key])
    if given.get("label_list"):
        config["train_dataloader"]["dataset"]["label_list"] = str(given["label_list"])
    set_num_classes(config["model"], count)


def _require_fitting_labels(config: Config) -> None:
    head = (config.get("model") or {}).get("head")
    wanted = head.get("num_classes") if isinstance(head, dict) else None
    first: tuple[str, list[str]] | None = None
    for loader in _LOADERS:
        dataset = (config.get(loader) or {}).get("dataset") or {}
        if str(dataset.get("type")).rsplit(".", 1)[-1] != "ClassFolders":
            continue
        folder = dataset.get("data_root")
        if not folder:
            raise InputError(f"{loader}.dataset.data_root: not given. Set it to a folder with a folder for each class.")
        try:
            classes = class_names(folder)
        except InputError as error:
            raise InputError(f"{loader}.dataset.data_root: {error}") from error
        if wanted is not None and len(classes) != wanted:
            raise InputError(
                f"model.head.num_classes={wanted}: {folder} ({loader}) has {len(classes)} classes, so labels do not fit. "
                f"Give --cfg-options model.head.num_classes={len(classes)}, or name the folders by "
                "dataset_from_folders.train and dataset_from_folders.val: then classes are counted."
            )
        if first is None:
            first = folder, classes
        elif classes != first[1]:
            told = [
                f"only in {where}: {', '.join(sorted(set(one) - set(other))[:5])}"
                for where, one, other in ((first[0], first[1], classes), (folder, classes, first[1]))
                if set(one) - set(other)
            ]
            raise InputError(
                f"{folder} ({loader}) has other classes than {first[0]} ({'; '.join(told)}), so labels would not mean the "
                "same. Give both the same class folders."
            )


def _limit_answers(config: Config) -> None:
    """mmpretrain's accuracy fails where it asks for more answers than there are classes."""
    head = (config.get("model") or {}).get("head")
    count = head.get("num_classes") if isinstance(head, dict) else None
    for name in ("val_evaluator", "test_evaluator"):
        evaluator = config.get(name)
        if count and isinstance(evaluator, dict) and isinstance(evaluator.get("topk"), list | tuple):
            evaluator["topk"] = tuple(top for top in evaluator["topk"] if top <= count)
