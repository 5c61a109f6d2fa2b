"""The saliency stores of one run, on all its machines."""
import logging
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, get_rank
from mmengine.logging import print_log

from mmsscl.errors import InputError
from mmsscl.rank_errors import failing_together
from mmsscl.saliency.store import SaliencyStore
from mmsscl.saliency.store_state import check_state, describe_fingerprint

FILE_NAME = "saliency_store.bin"
PREVIOUS_NAME = "saliency_store.previous.bin"


def open_run_store(
    work_dir: str | Path, fingerprint: str, count: int, size: int, resumed: bool, state: Any, origin: str
) -> SaliencyStore:
    """Make or take up the store of a run; call it on all ranks.

    Rank 0's machine keeps ``saliency_store.bin``, each other one ``saliency_store.<host name>.bin``: machines may share
    the work directory, but not a mapped file. A new run renames what a former one left there to
    ``saliency_store.previous.bin`` and warns; a file of this name is replaced.

    Args:
        work_dir: Of the run.
        fingerprint: Of the training data set.
        count: Number of its images.
        size: Cells a side of the maps.
        resumed: Whether the run goes on from a checkpoint, so that a store there is its own.
        state: What the checkpoint holds of the store, or ``None``; not looked at in a new run.
        origin: The checkpoint, for messages.

    Returns:
        The store of this machine; writable on the machine's first rank.

    Raises:
        InputError: On all ranks, if on one of them: the state or a resumed run's file is damaged or for other images,
            the data set is not rank 0's, or the file cannot be written.
    """
    host = socket.gethostname()
    hosts, fingerprints = zip(*all_gather_object((host, fingerprint)))
    main = host == hosts[0]
    path = Path(work_dir) / (FILE_NAME if main else f"saliency_store.{host}.bin")
    writes = hosts.index(host) == get_rank()
    taken_up = resumed and state is not None
    # Every rank checks before any writes.
    with failing_together():
        if fingerprint != fingerprints[0]:
            raise InputError(
                f"SaliencyRefreshHook: the training data set on {host} is not that on {hosts[0]} "
                f"({describe_fingerprint(fingerprint)}; there {describe_fingerprint(fingerprints[0])}). Give all "
                "machines the same files."
            )
        if taken_up:
            check_state(state, fingerprint, count, size, origin)
        if resumed and path.exists() and not SaliencyStore.open(path, fingerprint).verify():
            print_log(f"{path}: its last refresh was cut off; taken from the checkpoint.", logger="current")
    with failing_together():
        if writes:
            if main and not taken_up:
                _set_aside(path)
            SaliencyStore.create(path, fingerprint, count, size)
            if taken_up:
                SaliencyStore.open(path, fingerprint, writable=True).restore(state, origin)
    with failing_together():
        store = SaliencyStore.open(path, fingerprint, writable=writes)
    return store


def _set_aside(path: Path) -> None:
    """Keep what a former run left: other trainings may read it."""
    if not path.is_file():
        return
    with suppress(InputError):  # damaged, or of another version of mmsscl: not ours to delete
        if SaliencyStore.open(path).version == 0:
            return
    aside = path.with_name(PREVIOUS_NAME)
    try:
        os.replace(path, aside)
    except OSError as error:
        raise InputError(
            f"{path}: the saliency store of a former run cannot be renamed ({error.strerror}). Move it away, or set "
            "another work_dir."
        ) from error
    print_log(
        f"{path}: held the saliency maps of a former run; they are now in {aside.name}. A config that reads them by store= "
        "must name that file. One more new run in this work_dir replaces it.",
        logger="current", level=logging.WARNING,
    )  # fmt: skip
