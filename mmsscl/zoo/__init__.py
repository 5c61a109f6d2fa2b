"""Models that can be named, fetched, checked, converted and published."""
from typing import Any

__all__ = ["register_models"]


def __getattr__(name: str) -> Any:
    """:func:`register_models` is imported when it is asked for: reading a checkpoint needs no catalogue."""
    if name == "register_models":
        from mmsscl.zoo.mmpretrain_hub import register_models

        return register_models
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
