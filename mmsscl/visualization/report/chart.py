"""A chart as inline SVG, without scripts; what a pointer over it shows goes along as plain values."""
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, NamedTuple

from matplotlib.ticker import MaxNLocator

from mmsscl.visualization.report.read_scalars import Series

WIDTH, HEIGHT = 440, 222
MOST_SERIES = 8
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 10, 10, 40
_FLAT = 1e-6
_RESIDUE = 1e-12
_BUCKETS = 200
_FEW = 24


class Mark(NamedTuple):
    """A limit: values beyond it are unhealthy.

    Attributes:
        value: The limit.
        above: Whether values above it are unhealthy, rather than those below.
        text: A few words.
    """

    value: float
    above: bool
    text: str


@dataclass
class Chart:
    """Figures of one kind over a run.

    Attributes:
        title: A few words.
        series: By name, at most ``MOST_SERIES``.
        unit: Of the values; empty: none.
        domain: What the axis covers at least; None: only the values.
        marks: Limits; drawn where they lie in what is covered.
        note: A sentence below the title; empty: none.
    """

    title: str
    series: Mapping[str, Series]
    unit: str = ""
    domain: tuple[float, float] | None = None
    marks: Sequence[Mark] = ()
    note: str = ""
    resumes: Sequence[int] = field(default_factory=list)

    @property
    def drawable(self) -> bool:
        """Whether there is a number in it."""
        return any(series.finite for series in self.series.values())


def number(value: float) -> str:
    """A number for people: four digits, six next to one, "-" where it is none.

    Example:
        >>> number(0.00029368), number(12345.6), number(float("nan"))
        ('0.0002937', '12,346', '-')
    """
    if not math.isfinite(value):
        return "-"
    # what rounding leaves of a zero
    if abs(value) < _RESIDUE:
        return "0"
    if 1000 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    short = f"{value:.4g}"
    # a momentum of .999997 is no 1
    return f"{value:.6g}" if float(short) in (1.0, -1.0) else short


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """Labels of an axis, at least two, evenly spaced: with as many digits as tell each from the next.

    Example:
        >>> tick_texts([0.996, 0.9965, 0.997]), tick_texts([0.0, 2.5e9])
        (['0.9960', '0.9965', '0.9970'], ['0', '2.5e+09'])
    """
    step, most = ticks[1] - ticks[0], max(map(abs, ticks))
    # two digits of a step of 2.5
    digits = 1 - math.floor(math.log10(step)) - (round(step / 10 ** math.floor(math.log10(step)), 6) in (1, 2, 5))
    if 1e-4 <= most < 1e6:
        return [f"{round(tick, digits) + 0.0:,.{max(0, digits)}f}" for tick in ticks]
    wanted = digits + math.floor(math.log10(most)) + 1
    return [f"{0.0 if abs(tick) < step / 2 else tick:.{wanted}g}" for tick in ticks]


def draw(chart: Chart) -> tuple[str, dict[str, Any]]:
    """Draw a chart that is ``drawable``.

    Returns:
        The ``<svg>`` element, and what the page's script shows under the pointer: ``left`` and ``right`` of the plot,
        ``first`` and ``last`` iteration, and for each series ``name``, ``at``, ``epoch`` and ``value``.
    """
    shown = {name: _thinned(series) for name, series in chart.series.items() if series.finite}
    every = [value for series in shown.values() for value in series.finite]
    low, high = min(every), max(every)
    if chart.domain is not None:
        low, high = min(low, chart.domain[0]), max(high, chart.domain[1])
    if high - low <= _FLAT * max(abs(low), abs(high)):
        margin = 0.05 * max(abs(low), abs(high)) or 1.0
        low, high = low - margin, high + margin
    ticks = [float(tick) for tick in MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    iterations = [at for series in shown.values() for at in series.iterations]
    first, last = min([*iterations, 0]), max(*iterations, 1)

    def x(at: float) -> float:
        return _LEFT + (at - first) / (last - first) * (WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return HEIGHT - _BOTTOM - (value - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    parts = []
    for mark in chart.marks:
        if low <= mark.value <= high:
            edge = y(high if mark.above else low)
            top, line = sorted((edge, y(mark.value)))
            parts.append(
                f'<rect class="bad" x="{_LEFT}" y="{top:.1f}" width="{WIDTH - _LEFT - _RIGHT}" height="{line - top:.1f}"/>'
                f'<text class="badtext" x="{_LEFT + 6}" y="{(top + 12 if mark.above else line - 5):.1f}">'
                f"{escape(mark.text)}</text>"
            )
    for tick, text in zip(ticks, tick_texts(ticks), strict=True):
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{text}</text>')
    for tick in MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]).tick_values(first, last):
        if not first <= tick <= last:
            continue
        anchor = "end" if x(tick) > WIDTH - 30 else "middle"
        parts.append(f'<text class="tick" x="{x(tick):.1f}" y="{HEIGHT - 24}" text-anchor="{anchor}">{tick:,.0f}</text>')
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(f'<text class="tick" x="{middle}" y="{HEIGHT - 7}" text-anchor="middle">iterations</text>')
    for at in chart.resumes:
        if first <= at <= last:
            parts.append(f'<line class="resume" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>')
    for position, series in enumerate(shown.values()):
        parts += _line(series, position + 1, x, y)
    label = escape(f"{chart.title}: {', '.join(shown)} over {last:,} iterations", quote=True)
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    hover = {
        "left": _LEFT / WIDTH, "right": 1 - _RIGHT / WIDTH, "first": first, "last": last, "unit": chart.unit,
        "series": [
            {"name": name, "at": series.iterations, "epoch": series.epochs, "value": [number(v) for v in series.values]}
            for name, series in shown.items()
        ],
    }  # fmt: skip
    return svg, hover


def _line(series: Series, position: int, x: Any, y: Any) -> list[str]:
    """Lines between neighbours that are numbers; dots where there are few, or one stands alone."""
    runs: list[list[tuple[float, float]]] = [[]]
    for at, value in zip(series.iterations, series.values, strict=True):
        if math.isfinite(value):
            runs[-1].append((x(at), y(value)))
        elif runs[-1]:
            runs.append([])
    drawn = [" ".join(f"{left:.1f},{top:.1f}" for left, top in run) for run in runs if len(run) > 1]
    parts = [f'<polyline class="line s{position}" points="{points}"/>' for points in drawn]
    few = len(series.values) <= _FEW
    dots = [dot for run in runs for dot in run if few or len(run) == 1]
    return parts + [f'<circle class="dot s{position}" cx="{left:.1f}" cy="{top:.1f}" r="2.5"/>' for left, top in dots]


def _thinned(series: Series) -> Series:
    """Lowest and highest value of each of ``_BUCKETS`` spans of a long series, so that no peak is lost."""
    count = len(series.values)
    if count <= 2 * _BUCKETS:
        return series
    kept: set[int] = {0, count - 1}
    for bucket in range(_BUCKETS):
        span = range(bucket * count // _BUCKETS, (bucket + 1) * count // _BUCKETS)
        finite = [index for index in span if math.isfinite(series.values[index])]
        # a span without a number stays a gap
        kept |= {each(finite, key=series.values.__getitem__) for each in (min, max)} if finite else {span[0]}
    order = sorted(kept)
    return Series(
        [series.iterations[index] for index in order], [series.epochs[index] for index in order],
        [series.values[index] for index in order],
    )  # fmt: skip
