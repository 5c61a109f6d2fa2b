"""Tables of scores: what ``mmsscl test`` and the measures of frozen features left as json."""
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmsscl.errors import InputError
from mmsscl.visualization.report.read_run import STAMP, Run
from mmsscl.visualization.report.read_scalars import NO_SCORES

_MOST_BYTES = 4 << 20
_REMEDY = "Give jsons that mmsscl test, or mmsscl eval knn, linear, ... (--out), wrote."


@dataclass
class ScoreTable:
    """Scores of one file.

    Attributes:
        name: Of the file, below the folder searched.
        rows: For each name (a checkpoint, a map; empty for a detector) its scores by name.
    """

    name: str
    rows: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """Names of all scores, in the order of their first row."""
        return list(dict.fromkeys(column for row in self.rows.values() for column in row))


def find_results(work_dir: Path, given: Sequence[str] = ()) -> list[ScoreTable]:
    """The score files below a work dir, and those given.

    Read are: metrics of ``mmsscl test`` (a dictionary of numbers; named ``metrics.json``, or with a "/" in a number's
    name), and what the measures of frozen features and maps write with ``--out``, which SceneBench keeps as
    ``*_scores.json``. Other jsons, and those above 4 MB, are passed over.

    Args:
        work_dir: Searched at any depth; the logged figures (``vis_data``) are no results.
        given: Files, or folders to search as well.

    Raises:
        InputError: A given file or folder is absent, holds no scores, or is a file above 4 MB.
    """
    tables = _search(work_dir)
    for each in given:
        path = Path(each).expanduser()
        if path.is_dir():
            found = _search(path)
        elif path.is_file():
            if path.stat().st_size > _MOST_BYTES:
                raise InputError(f"--results {path}: is above {_MOST_BYTES >> 20} MB, as no file of scores is. {_REMEDY}")
            table = _read(path, path.name)
            found = [] if table is None else [table]
        else:
            raise InputError(f"--results {path}: no such file or folder. {_REMEDY}")
        if not found:
            raise InputError(f"--results {path}: holds no scores. {_REMEDY}")
        tables += found
    return tables


def last_validation(run: Run) -> list[ScoreTable]:
    """The scores of a training's last validation, each the last that was logged."""
    figures = {name: series for name, series in run.figures("val").items() if name not in NO_SCORES}
    if not figures:
        return []
    at = max(series.iterations[-1] for series in figures.values())
    row = {name: series.values[-1] for name, series in figures.items()}
    return [ScoreTable(f"last validation, iteration {at:,}", {"": row})]


def _search(folder: Path) -> list[ScoreTable]:
    files = [file for file in folder.rglob("*.json") if "vis_data" not in file.parts and file.is_file()]
    files.sort(key=lambda file: (len(file.parts), file))
    found: list[ScoreTable] = []
    for file in files:
        table = _read(file, str(file.relative_to(folder)))
        # mmengine keeps the metrics of a test beside its log too
        beside_log = any(STAMP.fullmatch(part) for part in file.relative_to(folder).parts[:-1])
        if table is not None and not (beside_log and table.rows in [other.rows for other in found]):
            found.append(table)
    return found


def _read(file: Path, name: str) -> ScoreTable | None:
    if file.stat().st_size > _MOST_BYTES:
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        # a json of another program; a given file is told of by the caller
        return None
    if not isinstance(content, dict):
        return None
    rows: dict[str, dict[str, float]] = {}
    if isinstance(content.get("scores"), dict):
        rows = {str(key): _numbers(value) for key, value in content["scores"].items()}
    elif isinstance(records := content.get("rows", content.get("maps")), list):
        rows = {
            str(record.get("name", "")): _numbers({key: value for key, value in record.items() if key != "sizes"})
            for record in records if isinstance(record, dict)
        }  # fmt: skip
    elif all(map(_is_number, content.values())) and (file.name == "metrics.json" or any("/" in key for key in content)):
        rows = {"": {key: value for key, value in _numbers(content).items() if key not in NO_SCORES}}
    rows = {key: row for key, row in rows.items() if row}
    return ScoreTable(name, rows) if rows else None


def _numbers(value: Any, prefix: str = "") -> dict[str, float]:
    """Numbers of nested dictionaries, by their keys joined with a space."""
    if not isinstance(value, Mapping):
        return {}
    found: dict[str, float] = {}
    for key, own in value.items():
        name = f"{prefix}{key}"
        if _is_number(own):
            found[name] = math.nan if own is None else float(own)
        else:
            found |= _numbers(own, f"{name} ")
    return found


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
