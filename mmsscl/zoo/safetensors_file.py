"""Files of the safetensors format: tensors and strings, nothing that could run."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from mmsscl.errors import InputError

SUFFIX = ".safetensors"


def to_bytes(state: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> bytes:
    """A file's content.

    Args:
        state: Name to tensor; at the top of the file, as safetensors has no deeper levels.
        meta: Each value is stored as a string, if it is not one as JSON.

    Raises:
        InputError: The package is missing.
    """
    told = {key: value for key, value in meta.items() if value is not None}
    strings = {key: value if isinstance(value, str) else json.dumps(value) for key, value in told.items()}
    tensors = {name: value.detach().contiguous() for name, value in state.items()}
    content: bytes = _package("torch").save(tensors, metadata={"format": "pt", **strings})
    return content


def load(file: Path) -> dict[str, Any]:
    """Read a file.

    Returns:
        ``state_dict`` and ``meta``; strings that are JSON lists, dictionaries and the like as those.

    Raises:
        InputError: The package is missing, or the file is not of this format, torn or altered.
    """
    package = _package()
    try:
        with package.safe_open(str(file), framework="pt", device="cpu") as opened:
            meta = {key: _value(key, text) for key, text in (opened.metadata() or {}).items() if key != "format"}
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (it is no dictionary)
    except (package.SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"checkpoint {file}: cannot be read as safetensors ({str(error).splitlines()[0][:200]}); "
            f"{file.stat().st_size:,} bytes. Copy it again; a file of torch.save needs another ending, .pth."
        ) from error
    return {"state_dict": state, "meta": meta}


def _package(module: str = "") -> ModuleType:
    try:
        import safetensors
        import safetensors.torch
    except ImportError as error:
        raise InputError("safetensors: the package is not installed. Run: pip install safetensors") from error
    found: ModuleType = safetensors.torch if module == "torch" else safetensors
    return found


# a name that is all digits or the like must stay text
_PLAIN = ("arch", "source", "source_sha256", "branch", "layout", "mmsscl_version", "channel_order", "source_layout", "scope")


def _value(key: str, text: str) -> Any:
    if key in _PLAIN:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
