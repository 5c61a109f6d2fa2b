"""The steps of a cell, each a command line of ``mmsscl`` that anyone can run alone, and what is read from its output."""
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmsscl.atomic_file import atomic_file
from mmsscl.datasets.decoded_photos import machine_memory
from mmsscl.datasets.scene_images import SceneImages
from mmsscl.engine.config import load_config
from mmsscl.engine.config_keys import KNOWN_KEYS
from mmsscl.evaluation.feature_network import quiet_logs
from mmsscl.evaluation.scene_bench.given_pretraining import check_given
from mmsscl.evaluation.scene_bench.methods import Method
from mmsscl.evaluation.scene_bench.settings import BenchSettings
from mmsscl.registry import MODELS

Command = list[str]


class Stage(NamedTuple):
    """A step.

    Attributes:
        commands: Run one after the other.
        result: Reads the figures, once they have ended.
        trained: Work directory of the training among them.
    """

    commands: list[Command]
    result: Callable[[], dict[str, float]]
    trained: Path | None = None


def stage_of(
    name: str, method: Method, seed: int, folder: Path, settings: BenchSettings, given: str | Path | None = None
) -> Stage:
    """One step of a cell.

    Args:
        name: One of ``STAGES``.
        method: What is compared.
        seed: Of all draws.
        folder: The cell's.
        settings: The bench's.
        given: Checkpoint of the same pretraining, run before: "pretrain" takes it and trains nothing.

    Raises:
        InputError: The data folder lacks something, or ``given`` is of another training.
    """
    if name == "pretrain":
        return _pretrain(method, seed, folder, settings, given)
    if name.startswith("detection"):
        return _detection(name, seed, folder, settings)
    if name in ("knn", "linear"):
        return _classify(name, folder, settings)
    return {"regions": _regions, "saliency": _saliency}[name](folder, settings)


def _device(settings: BenchSettings) -> Command:
    return [] if settings.device is None else ["--device", settings.device]


def _pretrain(method: Method, seed: int, folder: Path, settings: BenchSettings, given: str | Path | None) -> Stage:
    config = load_config(Path(settings.configs) / "scenes" / f"{method.config}.py", dict(method.options))
    last = settings.epochs
    _feed(config, settings)
    config.merge_from_dict({
        "randomness.seed": seed, "train_cfg.max_epochs": last, "param_scheduler.0.end": min(1, last - 1) or 1,
        "param_scheduler.1.begin": min(1, last - 1), "param_scheduler.1.end": last,
        "param_scheduler.1.T_max": max(last - 1, 1), **dict(settings.options),
    })  # fmt: skip
    _fix_data(config, settings)
    if settings.photos is not None:
        dataset = {key: value for key, value in config.train_dataloader.dataset.items() if key not in ("type", "pipeline")}
        count = len(SceneImages(**dataset))
        spread = np.linspace(0, count - 1, min(settings.photos, count)).round().astype(int)
        config.train_dataloader.dataset.indices = spread.tolist()
    file = folder / "pretrain.py"
    _write_config(config, file)
    work, checkpoint = folder / "pretrain", folder / "pretrain" / f"epoch_{last}.pth"
    backbone = folder / "backbone.pth"
    if given is not None:
        check_given(config, given)
        return Stage([["export", str(given), str(backbone)]], lambda: {})
    if method.trains:
        amp = [] if settings.amp is None else ["--amp", settings.amp]
        commands = [["train", str(file), "--work-dir", str(work), "--resume", *amp]]
    else:
        _write_untrained(config, seed, checkpoint)
        commands = []
    commands.append(["export", str(checkpoint), str(backbone)])

    def result() -> dict[str, float]:
        return _last_scalars(work) if method.trains else {}

    return Stage(commands, result, work if method.trains else None)


def _classify(name: str, folder: Path, settings: BenchSettings) -> Stage:
    out = folder / f"{name}_scores.json"
    train, val = settings.path("caltech101", "train"), settings.path("caltech101", "val")
    command = ["eval", name, str(folder / "backbone.pth"), "--train", train, "--val", val, "--size", str(settings.size),
               "--cache", str(folder / "features"), "--out", str(out), *_device(settings)]  # fmt: skip
    if name == "linear":
        # chosen for each method by held-out photos, the cost alone moves the score by more than methods differ
        command += ["--costs", "1000"]

    def result() -> dict[str, float]:
        (scores,) = json.loads(out.read_text())["scores"].values()
        return {key.removeprefix("k=20 ").replace("-", ""): value for key, value in scores.items()}

    return Stage([command], result)


def _regions(folder: Path, settings: BenchSettings) -> Stage:
    out = folder / "regions_scores.json"
    images, boxes = settings.path("voc_scenes", "images"), settings.path("voc_scenes", "instances_val.json")
    command = ["eval", "regions", str(folder / "backbone.pth"), "--images", boxes, "--root", images, "--size",
               str(settings.size), "--min-size", "16", "--max-images", str(settings.region_photos), "--out", str(out),
               *_device(settings)]  # fmt: skip

    def result() -> dict[str, float]:
        row = json.loads(out.read_text())["rows"][0]
        return {"photo_top1": 100 * row["photo"]["top1"], "all_top1": 100 * row["all"]["top1"]}

    return Stage([command], result)


def _saliency(folder: Path, settings: BenchSettings) -> Stage:
    out = folder / "saliency_scores.json"
    few = [] if settings.saliency_photos is None else ["--max-images", str(settings.saliency_photos)]
    # all that a config's own SaliencyRefreshHook would decide is said: not all methods have one
    command = ["eval", "saliency", str(folder / "pretrain.py"), str(folder / "backbone.pth"), "--branch", "online",
               "--images", settings.path("ecssd", "images"), "--masks", settings.path("ecssd", "masks"),
               "--estimator", "GeodesicSaliency", "--image-size", "224", "--map-size", "14",
               "--batch-size", "64", "--no-mirror", "--out", str(out), *few,
               *_device(settings)]  # fmt: skip

    def result() -> dict[str, float]:
        report = json.loads(out.read_text())
        return {key: report["maps"][0][key] for key in ("max_f", "auc", "pointing", "mae")}

    return Stage([command], result)


def _detection(name: str, seed: int, folder: Path, settings: BenchSettings) -> Stage:
    leaf = "faster_rcnn_r18_voc_frozen" if name == "detection_frozen" else "faster_rcnn_r18_voc"
    config = load_config(Path(settings.configs) / "scenes" / f"{leaf}.py")
    config.merge_from_dict({
        "randomness": {"seed": seed}, "model.backbone.init_cfg.checkpoint": str(folder / "backbone.pth"),
        "dataset_from_json.train": settings.path("voc_scenes", "instances_train.json"),
        "dataset_from_json.val": settings.path("voc_scenes", "instances_val.json"),
        "dataset_from_json.images": settings.path("voc_scenes", "images"), **dict(settings.detection_options),
    })  # fmt: skip
    steps = settings.detection_steps or config.train_cfg.max_iters
    if settings.detection_steps is not None:
        warm = min(config.param_scheduler[0]["end"], max(1, steps // 10))
        config.merge_from_dict({
            "train_cfg.max_iters": steps, "train_cfg.val_interval": steps, "param_scheduler.0.end": warm,
            "param_scheduler.1.begin": warm, "param_scheduler.1.end": steps, "param_scheduler.1.T_max": steps - warm,
            "default_hooks.checkpoint.interval": max(1, min(config.default_hooks.checkpoint.interval, steps)),
        })  # fmt: skip
    file, work, out = folder / f"{name}.py", folder / name, folder / f"{name}_scores.json"
    _write_config(config, file)
    # `test` gives the figures: training without an evaluation at its end saves a second one
    trained = Config({key: value for key, value in config.to_dict().items() if not key.startswith("val_")})
    _write_config(trained, folder / f"{name}_train.py")
    amp = [] if settings.amp is None else ["--amp", settings.amp]
    commands = [
        ["train", str(folder / f"{name}_train.py"), "--work-dir", str(work), "--resume", *amp],
        ["test", str(file), str(work / f"iter_{steps}.pth"), "--work-dir", str(work / "test"), "--out", str(out)],
    ]

    def result() -> dict[str, float]:
        scores = json.loads(out.read_text())
        return {"ap": 100 * scores["coco/bbox_mAP"], "ap50": 100 * scores["coco/bbox_mAP_50"]}

    return Stage(commands, result, work)


def _fix_data(config: Config, settings: BenchSettings) -> None:
    """Let the sources of the photos lie where the bench's data does."""
    for source in config.train_dataloader.dataset.sources:
        root = Path(source["data_root"])
        parts = root.parts[-2:] if root.name == "unlabeled" else root.parts[-1:]
        source["data_root"] = settings.path(*parts)


def _feed(config: Config, settings: BenchSettings) -> None:
    """How photos are read: samples do not depend on it."""
    loader = config.train_dataloader
    loader.dataset.keep_decoded = min(4.0, machine_memory() / 4) if settings.keep_decoded is None else settings.keep_decoded
    if settings.workers is not None:
        loader.num_workers = settings.workers
    elif torch.cuda.is_available():
        loader.num_workers = min(12, max(1, len(os.sched_getaffinity(0)) - 1))


def _write_config(config: Config, file: Path) -> None:
    """Leave an equal file as it is: a cell that goes on says by it that nothing has changed."""
    text = Config({key: value for key, value in config.to_dict().items() if key in KNOWN_KEYS}).pretty_text
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        with atomic_file(file) as stream:
            stream.write(text.encode())


def _write_untrained(config: Config, seed: int, checkpoint: Path) -> None:
    """What a training of that seed would begin with."""
    if checkpoint.exists():
        return
    torch.manual_seed(seed)
    # a detector's training in the same process leaves its own scope
    with DefaultScope.overwrite_default_scope("mmsscl"), quiet_logs():
        model = MODELS.build(config.model)
        model.init_weights()
    content = {"state_dict": model.state_dict(), "meta": {"cfg": config.pretty_text, "epoch": 0, "iter": 0}}
    with atomic_file(checkpoint) as stream:
        torch.save(content, stream)


def _last_scalars(work: Path) -> dict[str, float]:
    """The last loss and spread of the projections that a training logged."""
    rows = [row for rows in _scalars(work) for row in rows]
    return {key: row[key] for row in rows for key in ("loss", "projection_std") if key in row}


def data_wait(work: Path) -> float | None:
    """The share of a training's time that its steps waited for data; None where no step was logged.

    Args:
        work: Its work directory.
    """
    waits, times = [], []
    for rows in _scalars(work):
        steps = [row for row in rows if {"data_time", "time", "loss"} <= row.keys()]
        # the first of a process has the start of the workers in it
        for row in steps[1:] or steps:
            waits.append(row["data_time"])
            times.append(row["time"])
    return sum(waits) / sum(times) if times else None


def _scalars(work: Path) -> list[list[dict[str, float]]]:
    """What each process of a training logged, in their order."""
    files = sorted(work.glob("*/vis_data/scalars.json"))
    return [[json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] for file in files]
