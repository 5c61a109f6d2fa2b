"""The newest checkpoint of a run that can be resumed from."""
import logging
import re
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.logging import print_log

from mmsscl.errors import InputError
from mmsscl.zoo.safe_load import is_archive, load_checkpoint

POINTER = "last_checkpoint"


class SavedState(NamedTuple):
    """A checkpoint of a run.

    Attributes:
        file: The checkpoint.
        iteration: Iterations done.
        time: When it was saved, as mmengine writes it (20250131_120000); empty: it does not tell.
    """

    file: Path
    iteration: int
    time: str


def newest_checkpoint(work_dir: str | Path, since: str = "") -> Path | None:
    """The checkpoint in a run's folder that has come farthest and is whole.

    Looked at are ``epoch_N.pth``, ``iter_N.pth`` and the file that ``last_checkpoint`` names: by its name in this folder, so
    that a folder that was copied or moved goes on with its own files; elsewhere only if the folder holds none at all. A
    damaged one is passed over with a warning.

    Args:
        work_dir: The run's folder.
        since: A time such as 20250131_120000: those saved earlier are passed over.

    Returns:
        Its path; ``None`` where the folder has no checkpoint at all.

    Raises:
        InputError: There are checkpoints, and all are damaged.
    """
    states = saved_states(work_dir)
    damaged = len(checkpoint_files(work_dir)) - len(states)
    for state in reversed(states):
        if state.time and state.time < since:
            continue
        try:
            check_whole(state.file)
        except InputError as error:
            print_log(f"passed over: {error}", logger="current", level=logging.WARNING)
            damaged += 1
        else:
            return state.file
    if damaged:
        raise InputError(
            f"work_dir {work_dir}: none of its {damaged} checkpoints can be resumed from (see the warnings above). "
            "Restore one from a copy and name it (--resume FILE), or start anew in another work_dir."
        )
    return None


def saved_states(work_dir: str | Path) -> list[SavedState]:
    """The checkpoints that :func:`newest_checkpoint` looks at, the one that has come farthest last.

    Only their headers are read; one that cannot be is passed over with a warning.
    """
    found = []
    for file in checkpoint_files(work_dir):
        try:
            meta = _meta_of(load_checkpoint(file, mmap=True), file)
        except InputError as error:
            print_log(f"passed over: {error}", logger="current", level=logging.WARNING)
        else:
            found.append(SavedState(file, int(meta["iter"]), str(meta.get("time", ""))))
    return sorted(found, key=lambda state: (state.iteration, state.file.name))


def check_whole(file: str | Path) -> None:
    """Check that a run can be resumed from a file: that it can be read and that no byte of its tensors has changed.

    ``torch.save`` keeps a CRC-32 of each tensor, which ``torch.load`` does not look at. Files in the format from before
    torch 1.6 have none: of them only the reading is tried.

    Raises:
        InputError: The file is absent, torn, changed, or holds no state of a run.
    """
    _meta_of(load_checkpoint(file, mmap=True), file)
    if not is_archive(Path(file)):
        return
    with zipfile.ZipFile(file) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise InputError(
            f"checkpoint {file}: is damaged ({damaged} does not match its checksum). Copy it again, or take an earlier one."
        )


def _meta_of(checkpoint: dict[str, Any], file: str | Path) -> dict[str, Any]:
    meta = checkpoint.get("meta")
    if not isinstance(meta, dict) or not {"epoch", "iter"} <= set(meta) or "message_hub" not in checkpoint:
        raise InputError(
            f"checkpoint {file}: holds weights, but not the state of a run, so there is nothing to resume. Start a new run "
            "from it (load_from=FILE, without resume)."
        )
    return meta


def checkpoint_files(work_dir: str | Path) -> list[Path]:
    """The files that :func:`newest_checkpoint` looks at, unread."""
    work_dir = Path(work_dir)
    files = [file for file in work_dir.glob("*.pth") if re.fullmatch(r"(epoch|iter)_\d+\.pth", file.name)]
    try:
        named = Path((work_dir / POINTER).read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return sorted(files)
    # what it names elsewhere may be another run's by now: the folder that this one was copied from
    own = work_dir / named.name
    if own.is_file():
        files.append(own)
    elif not files and named.is_file():
        files.append(named)
    return sorted(set(files))
