"""Read checkpoint files without running code from them.

``mmengine`` reads a checkpoint with ``weights_only=True`` and falls back to plain unpickling when that fails, which runs
whatever the file says; downloads it unpickles at once. Everything here goes through :func:`load_checkpoint`, which falls
back only where the user has said so; :func:`install_safe_loader` makes ``load_from``, ``resume`` and
``init_cfg=dict(type="Pretrained")`` do so too, addresses included.
"""

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as checkpoint_module

from mmsscl.errors import InputError
from mmsscl.zoo import safetensors_file
from mmsscl.zoo.file_kind import require_file, require_torch_file

ALLOW_VARIABLE = "MMSSCL_ALLOW_PICKLE"
"""Environment variable: 1 lets checkpoints run code, as plain pickles do."""

REMOTE_PREFIXES = ("http://", "https://", "s3:", "petrel:", "torchvision://", "open-mmlab://", "openmmlab://",
                   "mmcls://", "modelzoo://", "pavi:", "local:", "huggingface:")  # fmt: skip


def is_remote(path: str) -> bool:
    """Whether ``path`` is an address that mmengine downloads, rather than a file of this machine.

    Example:
        >>> is_remote("torchvision://resnet50"), is_remote("work_dirs/backbone.pth")
        (True, False)
    """
    return path.startswith(REMOTE_PREFIXES)


def _history_buffer_method(owner: Any, name: str) -> Any:
    """Stand in for ``getattr`` inside a checkpoint: mmengine's log history pickles its own methods by it.

    ``getattr`` itself on the allow-list would let a file reach anything from the classes it may name.
    """
    if owner is HistoryBuffer and isinstance(name, str) and not name.startswith("_"):
        return getattr(HistoryBuffer, name)
    raise UnpicklingError(f"the file asks for attribute {name!r} of {owner!r}, which a checkpoint has no need of")


def _safe_globals() -> list[Any]:
    """What mmengine's checkpoints hold besides tensors and plain containers: log history, NumPy scalars and arrays."""
    multiarray: Any = np._core.multiarray if hasattr(np, "_core") else np.core.multiarray  # type: ignore[attr-defined]
    allowed: list[Any] = [
        HistoryBuffer,
        (_history_buffer_method, "builtins.getattr"),
        np.ndarray,
        np.dtype,
        slice,
    ]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        allowed.append((multiarray._reconstruct, f"{module}._reconstruct"))
        allowed.append((multiarray.scalar, f"{module}.scalar"))
    kinds = (np.bool_, np.uint8, np.uint32, np.uint64, np.int32, np.int64, np.float32, np.float64)
    allowed += sorted({type(np.dtype(kind)) for kind in kinds}, key=lambda kind: kind.__name__)
    return allowed


def is_archive(file: Path) -> bool:
    """Whether a file is the archive that ``torch.save`` writes since torch 1.6, with a checksum of each tensor."""
    with file.open("rb") as stream:
        return stream.read(2) == b"PK"


def load_checkpoint(path: str | Path, mmap: bool = False) -> dict[str, Any]:
    """Read a checkpoint file onto the CPU; code in the file is not run.

    Args:
        path: A file written by ``torch.save``: an mmengine checkpoint, an exported backbone, or a plain state dict; or a
            ``.safetensors`` file.
        mmap: Leave the tensors in the file until they are looked at, where its format lets (torch before 1.6 wrote another).

    Returns:
        The dictionary in the file.

    Raises:
        InputError: If there is no such file, or it is a folder, a text file, torn, made for code to run on loading (unless
            the environment says ``MMSSCL_ALLOW_PICKLE=1``), or holds no dictionary.

    Example:
        >>> load_checkpoint("work_dirs/scrl_r50_coco/epoch_1.pth")["state_dict"].keys()  # doctest: +SKIP
    """
    file = Path(path).expanduser()
    require_file(file)
    if file.suffix == safetensors_file.SUFFIX:
        return safetensors_file.load(file)
    require_torch_file(file)
    return _read(file, f"checkpoint {file}", f"{file.stat().st_size:,} bytes, ", mmap and is_archive(file))


def _read(source: Any, name: str, size: str = "", mmap: bool = False) -> dict[str, Any]:
    """From a file or a stream."""
    try:
        with torch.serialization.safe_globals(_safe_globals()):
            checkpoint = torch.load(source, map_location="cpu", weights_only=True, mmap=mmap)
    except UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)|(the file asks for attribute [^\n]*)", str(error))
        if named is None:
            raise _unreadable(name, size, error) from error
        asked = named.group(1) or named.group(2)
        if os.environ.get(ALLOW_VARIABLE) != "1":
            raise InputError(
                f"{name}: refused, because loading it would run code from the file ({asked}). Use a file that holds tensors "
                "only: load it where it was made and save dict(state_dict=model.state_dict()). If you trust whoever made it "
                f"as you trust a program that you run: --allow-pickle, or {ALLOW_VARIABLE}=1."
            ) from error
        print_log(f"{name}: runs code from the file ({asked}), as {ALLOW_VARIABLE}=1 says.", "current", logging.WARNING)
        if hasattr(source, "seek"):
            source.seek(0)
        checkpoint = torch.load(source, map_location="cpu", weights_only=False)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise _unreadable(name, size, error) from error
    if not isinstance(checkpoint, dict):
        raise InputError(
            f"{name}: holds a {type(checkpoint).__name__}, not a dictionary. "
            "Save dict(state_dict=model.state_dict()) instead."
        )
    return checkpoint


def state_dict_of(checkpoint: dict[str, Any], path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, by name: its ``state_dict``, its ``model``, or itself.

    Args:
        checkpoint: What :func:`load_checkpoint` returned.
        path: Its file, for the message.

    Returns:
        Name to tensor; ``module.`` and ``_orig_mod.`` (data parallel, compiled models) are taken off the names.

    Raises:
        InputError: If there are no tensors.
    """
    state = checkpoint
    for key in ("state_dict", "model"):
        if isinstance(checkpoint.get(key), dict):
            state = checkpoint[key]
            break
    tensors = {
        str(name).removeprefix("module.").replace("_orig_mod.", ""): value
        for name, value in state.items()
        if isinstance(value, torch.Tensor)
    }
    if not tensors:
        raise InputError(
            f"checkpoint {path}: holds no tensors (keys: {', '.join(map(str, list(checkpoint)[:8])) or 'none'}). "
            "Name a file with a state_dict."
        )
    return tensors


def install_safe_loader() -> None:
    """Make mmengine read every checkpoint of this process through :func:`load_checkpoint`.

    Afterwards ``load_from``, ``resume`` and ``init_cfg=dict(type="Pretrained", checkpoint=...)`` refuse what it refuses,
    whether they name a file or an address (``http://``, ``torchvision://``, ...).
    """
    checkpoint_module.load_url = _load_url
    checkpoint_module._safe_torch_load = _load_anything
    CheckpointLoader.register_scheme(prefixes="", loader=_load_anything, force=True)


def _load_anything(
    filename: Any, map_location: str | torch.device | Callable | None = None, weights_only: bool | None = None
) -> dict[str, Any]:
    """As mmengine's own function: from a path or a stream."""
    streamed = hasattr(filename, "read")
    checkpoint = _read(filename, "checkpoint from storage") if streamed else load_checkpoint(filename)
    if map_location is None or str(map_location) == "cpu" or callable(map_location):
        return checkpoint
    return _to_device(checkpoint, torch.device(map_location))


def _load_url(
    url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True, **_: Any
) -> dict[str, Any]:
    """Download into torch's cache, once, and read it."""
    folder = Path(model_dir) if model_dir is not None else Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / Path(urlparse(url).path).name
    if not file.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file), None, progress)
        except (OSError, ValueError) as error:
            # what urllib raises is an OSError too
            raise InputError(
                f"{url}: cannot be downloaded to {folder} ({error}). Check the address, the network and the space; or fetch "
                "it by other means and give its path."
            ) from error
    return _load_anything(file, map_location)


def _to_device(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        # in place, so that subclasses (OrderedDict with _metadata) and shared references keep what they carry
        for key in value:
            value[key] = _to_device(value[key], device)
        return value
    if isinstance(value, list):
        return [_to_device(item, device) for item in value]
    return value


def _unreadable(name: str, size: str, error: BaseException) -> InputError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return InputError(
        f"{name}: cannot be read ({lines[0][:200]}); {size}probably torn by an interrupted write or copy. Copy it again, or "
        "take an earlier checkpoint."
    )
