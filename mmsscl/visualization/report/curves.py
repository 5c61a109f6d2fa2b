"""Which figures of a run share a chart, and what a healthy one looks like."""
import math
from collections.abc import Iterable, Mapping
from typing import Any

from mmsscl.engine.hooks.collapse_monitor_hook import SYMPTOMS, CollapseMonitorHook
from mmsscl.visualization.report.chart import MOST_SERIES, Chart, Mark
from mmsscl.visualization.report.read_run import Run
from mmsscl.visualization.report.read_scalars import NO_SCORES, Series

_SHARES = ("projection_std", "cosine", "effective_sample_size", "saliency_trust", "saliency_border", "saliency_centre",
           "saliency_guidance", "saliency_entropy", "saliency_share")  # fmt: skip
_NOTES = {
    "projection_std": "Spread of the target's projections: 0 is collapse, 1 healthy.",
    "positive_cosine": "Of predictions and their targets; near 1 the views are too alike, or the network collapses.",
    "boxes_per_image": "Matched boxes that carry the loss.",
    "effective_sample_size": "Share of an image's crops that carry its loss.",
    "saliency_trust": "0: the maps are flat and guide nothing.",
    "knn_top1": "Of the online probe: for comparing epochs, not for reporting.",
}


def limits_of(hooks: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The limits, ``begin`` and ``window`` of the ``CollapseMonitorHook`` among a run's hooks, or its defaults."""
    default = CollapseMonitorHook()
    limits = {**default.limits, "begin": float(default.begin), "window": float(default.window)}
    for hook in hooks:
        if str(hook.get("type")).rsplit(".", 1)[-1] == CollapseMonitorHook.__name__:
            limits |= {key: float(value) for key, value in hook.items() if key in limits and isinstance(value, int | float)}
    return limits


def charts_of(run: Run) -> dict[str, list[Chart]]:
    """All charts of a run with numbers in them, by section, in the page's order.

    Figures are told apart by their names: ``loss`` is in a loss's, ``momentum`` begins a momentum's, and so on. What no
    section claims is shown under "Other figures", so that nothing logged is hidden.
    """
    train = run.figures("train")
    limits = limits_of(run.hooks)
    sections: dict[str, list[Chart]] = {}
    losses = [name for name in train if "loss" in name]
    lr, momentum = _named(train, "lr"), [name for name in train if name.startswith("momentum")]
    schedule = _grouped("Learning rate", train, lr, (0.0, 0.0)) + _grouped("Momentum of the moving average", train, momentum)
    accuracy = [name for name in train if name.split(".")[-1] in ("acc", "accuracy")]
    shown = _losses(train, losses) + _probes(run) + _validation(run) + _grouped("Accuracy in training", train, accuracy)
    sections["Learning"] = shown + schedule
    speed, speed_names = _speed(run, train)
    rest = [name for name in train if name not in {*losses, *accuracy, *lr, *momentum, *speed_names}]
    watched = [name for name in rest if any(name.endswith(symptom.figure) for symptom in SYMPTOMS)]
    watched += [name for name in rest if name not in watched and name.endswith(("boxes_per_image", *_SHARES))]
    sections["Monitors"] = [_monitor(name, train[name], limits) for name in watched]
    sections["Speed and memory"] = speed
    sections["Other figures"] = [Chart(name, {name: train[name]}) for name in rest if name not in watched]
    for charts in sections.values():
        charts[:] = [chart for chart in charts if chart.drawable]
        for chart in charts:
            chart.resumes = run.resumes
    return {title: charts for title, charts in sections.items() if charts}


def _grouped(
    title: str, figures: Mapping[str, Series], names: list[str], domain: tuple[float, float] | None = None
) -> list[Chart]:
    """One chart for the names, or several where they are more than a chart takes."""
    parts = [names[start : start + MOST_SERIES] for start in range(0, len(names), MOST_SERIES)]
    return [
        Chart(
            title if len(parts) == 1 else f"{title} ({number} of {len(parts)})", {name: figures[name] for name in part},
            domain=domain,
        ) for number, part in enumerate(parts, 1)
    ]  # fmt: skip


def _losses(figures: Mapping[str, Series], names: list[str]) -> list[Chart]:
    """A total of one term is that term, whose line would hide it."""
    terms = [name for name in names if name != "loss"]
    if len(terms) == 1 and "loss" in figures and figures["loss"].values == figures[terms[0]].values:
        names = terms
    return _grouped("Loss", figures, names)


def _named(figures: Iterable[str], word: str) -> list[str]:
    """Names that are a word, or end in it behind ``_`` or ``/``, as those of several parameter groups do."""
    return [name for name in figures if name == word or name.endswith((f"_{word}", f"/{word}"))]


def _monitor(name: str, series: Series, limits: Mapping[str, float]) -> Chart:
    marks = []
    for symptom in SYMPTOMS:
        if name.endswith(symptom.figure):
            value = limits[symptom.limit]
            word = "collapse" if symptom.limit == "least_std" else "unhealthy"
            marks.append(Mark(value, symptom.above, f"{word} {'above' if symptom.above else 'below'} {value:g}"))
    note = next((text for figure, text in _NOTES.items() if name.endswith(figure)), "")
    domain = (0.0, 1.0) if name.endswith(_SHARES) else None
    if name.endswith("boxes_per_image"):
        domain = (0.0, max(series.finite, default=1.0))
    return Chart(name, {name: series}, domain=domain, marks=marks, note=note)


def _probes(run: Run) -> list[Chart]:
    figures = {name: series for name, series in run.figures("probe").items() if name not in NO_SCORES}
    return [Chart("Online probe", figures, unit="%", note=_NOTES["knn_top1"])] if figures else []


def _validation(run: Run) -> list[Chart]:
    figures = {name: series for name, series in run.figures("val").items() if name not in NO_SCORES}
    found = []
    # a validation at the end only is no curve: it stands among the results
    for family in dict.fromkeys(map(_family, figures)):
        members = [name for name, series in figures.items() if _family(name) == family and len(series.values) > 1]
        found += _grouped(f"Validation: {family}", figures, members)
    return found


def _family(name: str) -> str:
    """``coco/bbox`` of ``coco/bbox_mAP_50``, ``accuracy`` of ``accuracy/top1``."""
    return name.split("_")[0] if "_" in name else name.split("/")[0]


def _speed(run: Run, train: Mapping[str, Series]) -> tuple[list[Chart], list[str]]:
    names = [name for name in ("time", "data_time", "memory") if name in train]
    charts = []
    time, wait, memory = (train.get(name, Series()) for name in ("time", "data_time", "memory"))
    images = [run.images_at(at) or 0 for at in time.iterations]
    if images and all(images):
        rate = [count / value if value > 0 else math.nan for count, value in zip(images, time.values, strict=True)]
        speed = Series(time.iterations, time.epochs, rate)
        note = f"{' then '.join(map(str, dict.fromkeys(images)))} images an iteration."
        charts.append(Chart("Throughput", {"images/s": speed}, "images/s", (0.0, 0.0), note=note))
    elif time.values:
        charts.append(Chart("Time of an iteration", {"time": time}, "s", (0.0, 0.0)))
    whole = dict(zip(time.iterations, time.values, strict=True))
    shares = [
        (at, epoch, 100 * own / whole[at])
        for at, epoch, own in zip(wait.iterations, wait.epochs, wait.values, strict=True) if whole.get(at, 0.0) > 0
    ]  # fmt: skip
    if shares:
        waits = Series(*map(list, zip(*shares, strict=True)))
        note = "Share of the time in which the network waits for photos."
        charts.append(Chart("Data wait", {"data wait": waits}, "%", (0.0, 5.0), note=note))
    if memory.values:
        charts.append(Chart("GPU memory", {"memory": memory}, "MB", (0.0, 0.0)))
    refreshes = [name for name in train if name.endswith("_seconds")]
    charts += [Chart(name, {name: train[name]}, "s", (0.0, 0.0)) for name in refreshes]
    return charts, names + refreshes
