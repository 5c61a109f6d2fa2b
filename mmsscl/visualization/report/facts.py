"""The facts at the top of a report, and what needs attention."""
import math
import re
from collections import Counter
from datetime import timedelta
from statistics import fmean
from typing import Any, NamedTuple

from mmsscl.engine.hooks.bad_photos_hook import BadPhotosHook
from mmsscl.engine.hooks.collapse_monitor_hook import SYMPTOMS
from mmsscl.visualization.report.chart import number
from mmsscl.visualization.report.curves import limits_of
from mmsscl.visualization.report.progress import progress_of
from mmsscl.visualization.report.read_run import Run
from mmsscl.visualization.report.read_scalars import NO_SCORES

_OF_MMENGINE = re.compile(r"Failed to search registry|\"FileClient\" will be|\"HardDiskBackend\" is|init_cfg without")


class Fact(NamedTuple):
    """Attributes:
        name: A word or two.
        value: What counts.
        more: In small letters below; may be empty.
        state: "good", "bad" or "".
    """

    name: str
    value: str
    more: str = ""
    state: str = ""


class Warned(NamedTuple):
    """A warning of the log: its ``text`` the last time, ``level``, how ``often``, and ``when`` last."""

    text: str
    level: str
    often: int
    when: str


def headline(run: Run) -> list[Fact]:
    """What one wants to know first. A fact that nothing tells is left out."""
    told = run.newest.log.facts
    model, backbone = run.settings("model"), run.settings("model", "backbone")
    dataset = run.settings("train_dataloader", "dataset")
    progress = progress_of(run)
    of = f" of {progress.planned:,}" if progress.planned is not None else ""
    facts = [Fact("Progress", f"{progress.done:,}{of} {progress.unit}", progress.told, "good" if progress.ended else "")]
    if model.get("type"):
        depth = backbone.get("depth") or backbone.get("arch") or ""
        kind = str(backbone.get("type", "")).rsplit(".", 1)[-1]
        facts.insert(0, Fact("Method", str(model["type"]).rsplit(".", 1)[-1], f"{kind} {depth}".strip()))
    facts += _scores(run)
    spent = sum((process.duration for process in run.chain), timedelta(0))
    if spent:
        starts = len(run.chain)
        facts.append(Fact("Duration", _span(spent), f"{starts} starts" if starts > 1 else _start(run)))
    device = next((value for key, value in told.items() if re.match(r"GPU [0-9]", key)), None)
    if device is not None or told.get("CUDA available") == "False":
        count = run.images_at(run.rows[-1].iteration) if run.rows else None
        facts.append(Fact("Device", device or "CPU", f"{count} images an iteration" if count else ""))
    if dataset:
        facts.append(Fact("Data", str(dataset.get("type", "")).rsplit(".", 1)[-1], _places(dataset)))
    if "mmsscl" in told:
        facts.append(Fact("mmsscl", told["mmsscl"], f"commit {told.get('commit', 'unknown')}"))
    if "PyTorch" in told:
        facts.append(Fact("PyTorch", told["PyTorch"], f"MMEngine {told['MMEngine']}" if "MMEngine" in told else ""))
    return facts


def _places(dataset: dict[str, Any]) -> str:
    """Where a data set's photos are."""
    sources = dataset.get("sources")
    places = sources if isinstance(sources, list) and sources else [dataset, dataset.get("dataset")]
    found = []
    for source in places:
        if not isinstance(source, dict):
            continue
        prefix = source.get("data_prefix") or source.get("data_root") or source.get("ann_file") or ""
        prefix = "" if isinstance(prefix, dict) else str(prefix)
        root = str(source.get("data_root") or "")
        found.append(prefix if prefix.startswith(("/", root)) else f"{root}/{prefix}")
    prefix = dataset.get("data_prefix")
    images = str(prefix.get("img", "")) if isinstance(prefix, dict) else ""
    return ", ".join(dict.fromkeys(place for place in found if place)) or images


def _scores(run: Run) -> list[Fact]:
    train, limits = run.figures("train"), limits_of(run.hooks)
    found = []
    if "loss" in train:
        values = train["loss"].values
        lost = sum(not math.isfinite(value) for value in values)
        more = f"{lost} of {len(values)} logged values not finite" if lost else f"from {number(values[0])}"
        found.append(Fact("Loss", number(values[-1]), more, "bad" if lost else ""))
    collapse = next(symptom for symptom in SYMPTOMS if symptom.limit == "least_std")
    # as CollapseMonitorHook looks at them
    window = int(limits["window"])
    spreads = {
        name: fmean(series.finite[-window:])
        for name, series in train.items() if name.endswith(collapse.figure) and series.finite
    }  # fmt: skip
    if spreads:
        # of a model with several the worst
        name = min(spreads, key=lambda name: (round(spreads[name], 3), len(name)))
        limit, begin = limits[collapse.limit], limits["begin"]
        if train[name].iterations[-1] < begin:
            told, state = f"too early to tell, before iteration {begin:,.0f}", ""
        else:
            told, state = ("healthy", "good") if spreads[name] >= limit else ("collapsed", "bad")
            told = f"{told} (limit {limit:g})"
        found.append(Fact(name, number(spreads[name]), told, state))
    scores = {**run.figures("probe"), **run.figures("val")}
    shown = next((name for name, series in scores.items() if name not in NO_SCORES and series.finite), None)
    if shown is not None:
        values = scores[shown].finite
        found.append(Fact(shown, number(values[-1]), f"highest {number(max(values))}"))
    return found


def warnings_of(run: Run) -> tuple[list[Warned], int]:
    """The warnings of all processes, those that differ in numbers only taken together, most frequent last time first.

    Returns:
        The warnings; and how many notices of mmengine's about itself were left out.
    """
    last: dict[str, tuple[str, str, str]] = {}
    often: Counter[str] = Counter()
    left = 0
    for process in run.processes:
        for time, level, text in process.log.warnings:
            if _OF_MMENGINE.match(text):
                left += 1
                continue
            key = re.sub(r"\d+(\.\d+)?", "#", text)
            often[key] += 1
            last[key] = text, level, f"{time:%Y-%m-%d %H:%M:%S}"
    told = [Warned(text, level, often[key], when) for key, (text, level, when) in last.items()]
    return sorted(told, key=lambda warned: warned.when, reverse=True), left


def bad_photos(run: Run) -> list[str]:
    """The photos that could not be read, each with the reason."""
    file = run.folder / BadPhotosHook.FILE_NAME
    if not file.is_file():
        return []
    return [line.replace("\t", ": ") for line in file.read_text("utf-8", errors="surrogateescape").splitlines() if line]


def _span(span: timedelta) -> str:
    minutes, seconds = divmod(round(span.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def _start(run: Run) -> str:
    first = run.newest.log.first
    return f"from {first:%Y-%m-%d %H:%M}" if first else ""
