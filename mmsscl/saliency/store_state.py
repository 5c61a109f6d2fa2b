"""What a checkpoint keeps of a saliency store, and whether it fits the run that takes it up."""
from typing import Any

import torch
from torch import Tensor

from mmsscl.errors import InputError

FORMAT = 2
"""Of the store's file and of its state in checkpoints."""
_STATE_KEYS = ("format", "fingerprint", "count", "size", "version", "epoch", "maps", "trust")


def check_state(state: Any, fingerprint: str, count: int, size: int, origin: str) -> None:
    """Check that a checkpoint's state is whole and fits.

    Args:
        state: What :meth:`SaliencyStore.state` gave, or what became of it.
        fingerprint: Of the data set in use.
        count: Number of its images.
        size: Cells a side that the run wants.
        origin: The checkpoint's path, for the message.

    Raises:
        InputError: It is damaged or incomplete, or for another data set or size of map.
    """
    absent = [key for key in _STATE_KEYS if key not in state] if isinstance(state, dict) else list(_STATE_KEYS)
    if absent:
        raise _damaged_state(origin, f"without {', '.join(absent)}")
    if state["format"] != FORMAT:
        raise InputError(
            f"{origin}: saliency_store is of format {state['format']}, this version reads {FORMAT}. Resume with the "
            "version of mmsscl that wrote it."
        )
    if state["fingerprint"] != fingerprint:
        held, wanted = describe_fingerprint(state["fingerprint"]), describe_fingerprint(fingerprint)
        raise InputError(
            f"{origin}: its saliency maps are those of another data set ({held}; this one: {wanted}). Resume with the "
            "images it was trained on, in their order; or start a new run from its weights (load_from=CHECKPOINT, "
            "resume=False)."
        )
    if state["size"] != size:
        raise InputError(
            f"{origin}: its saliency maps have {state['size']} cells a side, the config asks for {size}. Resume with "
            f"map_size={state['size']} in SaliencyRefreshHook."
        )
    for key, shape in (("maps", (count, size, size)), ("trust", (count,))):
        value = state[key]
        if not isinstance(value, Tensor) or value.dtype != torch.uint8 or value.shape != shape:
            found = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise _damaged_state(origin, f"{key} is {found}, not uint8 {shape}")
    if not isinstance(state["version"], int) or not isinstance(state["epoch"], int) or state["version"] < 0:
        raise _damaged_state(origin, f"version {state['version']!r}, epoch {state['epoch']!r}")


def describe_fingerprint(fingerprint: str) -> str:
    """A fingerprint in words, for messages."""
    count, _, digest = str(fingerprint).partition(":")
    return f"{count} images, names and sizes {digest[:8]}"


def _damaged_state(origin: str, detail: str) -> InputError:
    return InputError(
        f"{origin}: its saliency_store is damaged ({detail}). Resume from an earlier checkpoint, or start a new run from "
        "its weights (load_from=CHECKPOINT, resume=False)."
    )
