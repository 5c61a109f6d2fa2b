"""Figures that a command left in a JSON, as results of a metafile."""
import json
import re
from pathlib import Path
from typing import Any

from mmsscl.errors import InputError
from mmsscl.zoo.metafile import is_figure


def read_metrics(file: Path, task: str | None = None, dataset: str | None = None) -> list[dict[str, Any]]:
    """Results in a JSON: the quickstart's ``summary.json``, or names and numbers.

    Args:
        file: The JSON.
        task: What names and numbers measure, for example "Object Detection"; the quickstart's file says it itself.
        dataset: What they were measured on.

    Returns:
        Mappings with ``Task``, ``Dataset`` and ``Metrics``.

    Raises:
        InputError: The file cannot be read, holds something else, or nobody says what its numbers measure.
    """
    content = _read(file)
    if _is_summary(content):
        transfer = content["transfer"]
        task = task or "Object Detection"
        if dataset is None and "detector" not in transfer:
            raise InputError(f"--metrics {file}: transfer.detector is missing. Say what was measured on: --dataset TEXT")
        dataset = dataset or f"embedded scenes, seed {content['seed']}, {transfer['detector']}"
        metrics = {key: value for key, value in transfer.items() if re.fullmatch(r"(random_)?bbox_mAP(_50)?", key)}
    else:
        metrics = content
    for name, value in metrics.items():
        if not is_figure(value):
            raise InputError(
                f"--metrics {file}: {name} is {json.dumps(value)[:60]}, no number. Give summary.json of the quickstart, or "
                "a JSON of names and numbers."
            )
    if not metrics:
        raise InputError(f"--metrics {file}: holds no figures.")
    if task is None or dataset is None:
        raise InputError(f"--metrics {file}: say what its figures measure, and on what: --task TEXT --dataset TEXT.")
    return [{"Task": task, "Dataset": dataset, "Metrics": metrics}]


def facts_of(file: Path) -> dict[str, Any]:
    """What the quickstart's ``summary.json`` says of its pretraining; nothing of other files.

    Raises:
        InputError: The file cannot be read, or its numbers are none.
    """
    content = _read(file)
    if not _is_summary(content):
        return {}
    config, images, epochs = (content["pretrain"].get(key) for key in ("config", "images", "epochs"))
    for key, value in (("images", images), ("epochs", epochs)):
        if value is not None and not is_figure(value):
            raise InputError(f"--metrics {file}: pretrain.{key} is {json.dumps(value)[:60]}, no number. Mend it there.")
    data = None if images is None else f"{images:,} embedded scenes"
    return {"config": config, "Training Data": data, "Epochs": epochs}


def _is_summary(content: dict[str, Any]) -> bool:
    return all(isinstance(content.get(key), dict) for key in ("pretrain", "transfer")) and {"seed"} <= content.keys()


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"--metrics {file}: cannot be read ({error}). Give a JSON of names and numbers.") from error
    if not isinstance(content, dict):
        raise InputError(f"--metrics {file}: holds a {type(content).__name__}. Give a JSON of names and numbers.")
    return content
