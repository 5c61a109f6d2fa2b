"""Transforms of a data set's pipeline, found by their class."""
from collections.abc import Iterator
from typing import TypeVar

Kind = TypeVar("Kind")


def find_transforms(holder: object, kind: type[Kind]) -> Iterator[Kind]:
    """All transforms of a kind in a pipeline, also within transforms that wrap others.

    Args:
        holder: A data set (attribute ``pipeline``) or a transform that holds others (``transforms``), as mmcv's
            ``Compose`` and mmpretrain's ``MultiView`` do.
        kind: The class.
    """
    steps = getattr(holder, "pipeline", None) or getattr(holder, "transforms", None) or ()
    for step in steps if isinstance(steps, list | tuple) else [steps]:
        if isinstance(step, kind):
            yield step
        else:
            yield from find_transforms(step, kind)
