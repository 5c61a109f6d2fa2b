"""Transforms of a data set's pipeline, found by their class."""
from collections.abc import Iterator
from typing import TypeVar

from mmsscl.errors import InputError

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


def check_pipeline(dataset: object, user: str) -> None:
    """Check that a data set shows its pipeline and tells the paths of its images, as wrappers around others do not.

    Args:
        dataset: Any.
        user: Who needs it, for the message.

    Raises:
        InputError: It does not: mmengine's ``ConcatDataset`` or ``RepeatDataset``, say.
    """
    if not hasattr(dataset, "pipeline") or not (hasattr(dataset, "path") or hasattr(dataset, "get_data_info")):
        raise InputError(
            f"{user}: train_dataloader.dataset is a {type(dataset).__name__}, which hides the pipeline of the data set "
            "within it, or does not tell the paths of its images. Use the data set without a wrapper around it "
            "(SceneImages takes several folders by sources=[...])."
        )
