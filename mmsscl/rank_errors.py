"""Errors that stop all ranks: one that stops alone leaves the others waiting for it in their next collective."""
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.dist import all_gather_object

from mmsscl.errors import InputError


@contextmanager
def failing_together() -> Iterator[None]:
    """Raise on every rank where the block raises on one.

    All ranks must enter and leave it, and it must hold no collective. It ends in a collective, so it is a barrier too:
    after it, every rank has done the block.

    Raises:
        InputError: On the ranks whose own block ended well, where another's raised one: with its message and rank.
        RuntimeError: Likewise, where another rank's block raised another exception.

    Example:
        >>> with failing_together():
        ...     store = SaliencyStore.open(path_on_this_machine)
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:  # noqa: BLE001  (whatever it is, the others must hear of it first; raised below)
        failure = error
    own = None if failure is None else (isinstance(failure, InputError), f"{type(failure).__name__}: {failure}")
    failures = all_gather_object(own)
    if failure is not None:
        raise failure
    for rank, told in enumerate(failures):
        if told is not None:
            raise (InputError if told[0] else RuntimeError)(f"rank {rank} stopped and so do all others: {told[1]}")
