"""Whether networks differ by more than the choice of photos does: a paired bootstrap over the photos."""
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mmsscl.errors import InputError

DRAWS = 2000
COVERED = 95
"""Percent of the resamplings that lie in the interval."""
_MOST_COUNTS = 2**23


def paired_differences(
    rows: Mapping[str, np.ndarray],
    scores: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    draws: int = DRAWS,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """How far networks are from the first one, and where that lies if other photos of the kind had been drawn.

    Photos are drawn anew, with replacement and as many as there are, the same ones for all networks; the interval is that of
    the percentiles (Efron, The Annals of Statistics 1979). It knows nothing of what another seed of the trainings would
    change.

    Args:
        rows: for each network, (N, K): what each of N photos adds to K sums. The same photos in the same order.
        scores: of sums (..., K): the figures, each (...).
        draws: how often.
        seed: of the draws.

    Returns:
        For each network but the first a dict: ``name``, ``from``: the first one's, ``photos``: N, ``draws``, and ``scores``:
        for each figure ``difference``, ``low`` and ``high``, nan where one of the draws has no such figure.

    Raises:
        InputError: the networks have not the same photos, or there are none.

    Example:
        >>> rows = {"a": np.array([[0.0, 1], [1, 1]]), "b": np.array([[1.0, 1], [1, 1]])}
        >>> paired_differences(rows, lambda sums: {"share": sums[..., 0] / sums[..., 1]})[0]["scores"]["share"]["difference"]
        0.5
    """
    counts = {len(table) for table in rows.values()}
    if len(counts) != 1 or counts == {0}:
        raise InputError(f"networks scored on {sorted(counts)} photos cannot be compared. Score them on the same ones.")
    names = list(rows)
    if len(names) == 1:
        return []
    photos = counts.pop()
    found: dict[str, list[Mapping[str, np.ndarray]]] = {name: [] for name in names}
    generator = np.random.default_rng(seed)
    step = max(1, _MOST_COUNTS // photos)
    for start in range(0, draws, step):
        times = generator.multinomial(photos, np.full(photos, 1 / photos), min(step, draws - start)).astype(np.float64)
        for name in names:
            found[name].append(scores(times @ rows[name]))
    whole = {name: scores(rows[name].sum(0)) for name in names}
    tails = [(100 - COVERED) / 2, (100 + COVERED) / 2]
    differences = []
    for name in names[1:]:
        each = {}
        for score in whole[name]:
            drawn = [np.concatenate([part[score] for part in found[which]]) for which in (name, names[0])]
            low, high = np.percentile(drawn[0] - drawn[1], tails)
            each[score] = {
                "difference": float(whole[name][score] - whole[names[0]][score]), "low": float(low), "high": float(high),
            }  # fmt: skip
        differences.append({"name": name, "from": names[0], "photos": photos, "draws": draws, "scores": each})
    return differences


def difference_lines(differences: Sequence[Mapping[str, Any]], columns: Sequence[str], decimals: int = 4) -> list[str]:
    """A table of :func:`paired_differences`, a row a network; no line without one.

    Args:
        differences: what it returned; None in place of a number is a dash.
        columns: the figures to show.
        decimals: of the numbers.
    """
    if not differences:
        return []
    first = differences[0]
    width = max(len(row["name"]) for row in differences)
    number = f"{{:+.{decimals}f}}"
    lines = [
        f"difference from {first['from']} [{COVERED} % of {first['draws']} resamplings of the {first['photos']} photos]:",
        " " * width + "".join(f"{column:>28}" for column in columns),
    ]
    for row in differences:
        cells = ("-" if None in score.values() else "{} [{}, {}]".format(*map(number.format, score.values()))
                 for score in (row["scores"][column] for column in columns))  # fmt: skip
        lines.append(f"{row['name']:<{width}}" + "".join(f"{cell:>28}" for cell in cells))
    return lines
