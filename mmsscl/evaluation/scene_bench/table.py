"""The table and the plot of a bench, from its cells' files."""
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmsscl.atomic_file import atomic_file
from mmsscl.errors import InputError
from mmsscl.evaluation.scene_bench.cell import FILE_NAME, read_cell
from mmsscl.evaluation.scene_bench.methods import METHODS

BEGIN, END = "<!-- scene_bench: begin -->", "<!-- scene_bench: end -->"
ABSENT = "-"


class Column(NamedTuple):
    """A column of the table.

    Attributes:
        label: Its head.
        stage: The step that its figures are of.
        key: Their name in the step's result.
        digits: Behind the point.
    """

    label: str
    stage: str
    key: str
    digits: int = 1


COLUMNS = (
    Column("detection AP", "detection", "ap"),
    Column("AP50", "detection", "ap50"),
    Column("frozen AP", "detection_frozen", "ap"),
    Column("linear", "linear", "top1"),
    Column("kNN", "knn", "top1"),
    Column("regions, photo", "regions", "photo_top1"),
    Column("regions, all", "regions", "all_top1"),
    Column("saliency max F", "saliency", "max_f", 3),
)


def read_cells(out: str | os.PathLike) -> list[dict[str, Any]]:
    """All cells of a bench, in the order of ``METHODS``, then of seeds.

    Raises:
        InputError: There is none, one is damaged, or they were run with different settings.
    """
    cells = [read_cell(file.parent) for file in sorted(Path(out).glob(f"*/{FILE_NAME}"))]
    found = [cell for cell in cells if cell is not None and cell["method"] in METHODS]
    if not found:
        raise InputError(f"{out}: holds no cells. Run some: mmsscl bench run --out {out} ...")
    by_settings: dict[str, list[str]] = {}
    for cell in found:
        by_settings.setdefault(cell["settings"], []).append(f"{cell['method']} seed {cell['seed']}")
    if len(by_settings) > 1:
        told = "; ".join(f"{key}: {', '.join(names)}" for key, names in by_settings.items())
        raise InputError(f"{out}: its cells were run with different settings ({told}), so no table can compare them.")
    return sorted(found, key=lambda cell: (list(METHODS).index(cell["method"]), cell["seed"]))


def markdown(cells: Sequence[dict[str, Any]], methods: Sequence[str] | None = None) -> str:
    """The table: a row a method; mean, standard deviation over seeds where there are several, and their number.

    Args:
        cells: From :func:`read_cells`.
        methods: Rows; None: those that have a cell. A figure that is not there is a dash.
    """
    rows = methods or [name for name in METHODS if any(cell["method"] == name for cell in cells)]
    lines = ["| pretraining | " + " | ".join(column.label for column in COLUMNS) + " | pretraining, s | seeds |"]
    lines.append("|---" * (len(COLUMNS) + 3) + "|")
    for name in rows:
        own = [cell for cell in cells if cell["method"] == name]
        values = [_cell(values_of(own, column), column.digits) for column in COLUMNS]
        seconds = [cell["stages"].get("pretrain", {}) for cell in own]
        told = [_seconds(stage) for stage in seconds if "seconds" in stage and METHODS[name].trains]
        lines.append(
            f"| {METHODS[name].label} | " + " | ".join(values) + f" | {', '.join(told) or ABSENT} | {len(own) or ABSENT} |"
        )
    return "\n".join(lines)


def values_of(cells: Sequence[dict[str, Any]], column: Column) -> list[float]:
    """The figures of a column that these cells have."""
    results = [cell["stages"].get(column.stage, {}).get("result", {}) for cell in cells]
    return [float(result[column.key]) for result in results if column.key in result]


def write_into(file: str | os.PathLike, text: str) -> None:
    """Put a table between the two marks of a Markdown file.

    Raises:
        InputError: The file or a mark is absent.
    """
    path = Path(file)
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}).") from error
    begin, end = content.find(BEGIN), content.find(END)
    if begin < 0 or end < begin:
        raise InputError(f"{file}: has no lines {BEGIN} and {END} to put the table between. Add them.")
    with atomic_file(path) as stream:
        stream.write(f"{content[: begin + len(BEGIN)]}\n{text}\n{content[end:]}".encode())


def plot(cells: Sequence[dict[str, Any]], file: str | os.PathLike) -> None:
    """A picture with a panel for each column: a bar a method, a dot a seed.

    Args:
        cells: From :func:`read_cells`.
        file: A PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [name for name in METHODS if any(cell["method"] == name for cell in cells)]
    figure, panels = pyplot.subplots(2, 4, figsize=(15, 2.2 + 0.55 * len(names)), sharey=True)
    for column, panel in zip(COLUMNS, panels.flat):
        for row, name in enumerate(names):
            values = values_of([cell for cell in cells if cell["method"] == name], column)
            if values:
                panel.barh(row, statistics.mean(values), color=f"C{row % 10}", alpha=0.5)
                panel.plot(values, [row] * len(values), "o", color=f"C{row % 10}", markersize=4)
            else:
                panel.text(0, row, " missing", va="center", fontsize=8, color="gray")
        panel.set_title(column.label, fontsize=10)
        panel.set_yticks(range(len(names)), [METHODS[name].label for name in names], fontsize=9)
    panels[0, 0].invert_yaxis()
    figure.tight_layout()
    with atomic_file(file) as stream:
        figure.savefig(stream, format="png", dpi=120)
    pyplot.close(figure)


def _cell(values: Sequence[float], digits: int) -> str:
    if not values:
        return ABSENT
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f} ({len(values)})"


def _seconds(stage: dict[str, Any]) -> str:
    """Of a step that was cut only the last part is known; of a pretraining that was given, nothing."""
    if "given" in stage:
        return "given"
    return f"{'over ' if stage.get('begun', 1) > 1 else ''}{stage['seconds']:.0f}"
