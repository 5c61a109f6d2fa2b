"""Suggest the name a user probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def near_names(name: str, known: Iterable[str], count: int = 3, cutoff: float = 0.75) -> list[str]:
    """Names of ``known`` that ``name`` only just misses, nearest first.

    Example:
        >>> near_names("train_dataloder", ["train_dataloader", "val_dataloader", "model"], count=1)
        ['train_dataloader']
    """
    by_lower: dict[str, str] = {}
    for candidate in known:
        by_lower.setdefault(str(candidate).lower(), str(candidate))
    return [by_lower[match] for match in get_close_matches(name.lower(), by_lower, n=count, cutoff=cutoff)]


def did_you_mean(near: list[str], otherwise: str = "") -> str:
    """A sentence that offers ``near``, or ``otherwise`` where nothing is near."""
    return f"Did you mean {' or '.join(near)}?" if near else otherwise
