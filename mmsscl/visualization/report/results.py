"""Tables of scores: what ``mmsscl test`` and the measures of frozen features left as json."""
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmsscl.errors import InputError
from mmsscl.visualization.report.read_run import Run

_MOST_FILES = 24
_MOST_BYTES = 4 << 20
_REMEDY = "Give jsons that mmsscl test, knn, linear, svm, ... wrote (--out)."
_OF_NO_RESULT = ("time", "data_time", "memory")


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

    Read are: metrics of ``mmsscl test`` (a dictionary of numbers), and what the measures of frozen features and maps write
    with ``--out``, which SceneBench keeps as ``*_scores.json``. Other jsons are passed over.

    Args:
        work_dir: Searched at any depth; the logged figures (``vis_data``) are no results.
        given: Files, or folders to search as well.

    Raises:
        InputError: A given file or folder is absent, or holds no scores.
    """
    tables = _search(work_dir)
    for each in given:
        path = Path(each).expanduser()
        if path.is_dir():
            found = _search(path)
        elif path.is_file():
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
    figures = {name: series for name, series in run.figures("val").items() if name not in _OF_NO_RESULT}
    if not figures:
        return []
    at = max(series.iterations[-1] for series in figures.values())
    row = {name: series.values[-1] for name, series in figures.items()}
    return [ScoreTable(f"last validation, iteration {at:,}", {"": row})]


def _search(folder: Path) -> list[ScoreTable]:
    files = [file for file in folder.rglob("*.json") if "vis_data" not in file.parts and file.is_file()]
    # of equal scores the one with the shortest way to it is kept
    files.sort(key=lambda file: (len(file.parts), file))
    tables = [_read(file, str(file.relative_to(folder))) for file in files]
    found = [table for table in tables if table is not None]
    # mmengine keeps the metrics of a test beside its log too
    unique = [table for number, table in enumerate(found) if table.rows not in [other.rows for other in found[:number]]]
    return unique[:_MOST_FILES]


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
    elif content and all(_is_number(value) for value in content.values()):
        rows = {"": {key: value for key, value in _numbers(content).items() if key not in _OF_NO_RESULT}}
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
