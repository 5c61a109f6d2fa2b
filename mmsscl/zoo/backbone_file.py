"""Write a backbone's file."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmsscl.atomic_file import atomic_file
from mmsscl.engine.output_folder import writable_folder
from mmsscl.errors import InputError
from mmsscl.zoo import safetensors_file


def output_file(output: str | Path, source: Path, target: str, safetensors: bool) -> Path:
    """The file to write, whose folder is made.

    Raises:
        InputError: It is a folder or the source, or nothing can be written there; its ending and its format do not go
            together.
    """
    file = Path(output).expanduser()
    if file.is_dir():
        raise InputError(f"{file}: is a folder. Name the file to write, for example {file / 'backbone.pth'}.")
    if safetensors and not file.suffix:
        file = file.with_suffix(safetensors_file.SUFFIX)
    if safetensors and file.suffix != safetensors_file.SUFFIX:
        other = file.with_suffix(safetensors_file.SUFFIX)
        raise InputError(f"{file}: files of --safetensors are known by their ending. Name it {other}.")
    if file.suffix == safetensors_file.SUFFIX and target == "detectron2":
        raise InputError(f"{file}: detectron2 reads no safetensors. Name it {file.with_suffix('.pth')}.")
    if file.exists() and source.exists() and file.samefile(source):
        raise InputError(f"{file}: is the file that is read. Name another to write.")
    writable_folder(file.parent, "OUTPUT")
    return file


def write_backbone_file(file: Path, state: Mapping[str, Tensor], meta: dict[str, Any], target: str) -> None:
    """Write tensors and what is known of them, whole or not at all.

    Args:
        file: ``.safetensors``, or a file of ``torch.save``: ``state_dict`` and ``meta``; for detectron2 ``model`` and what
            its ``DetectionCheckpointer`` reads beside it.
        state: Name to tensor.
        meta: Plain values.
        target: Of the library.
    """
    state = {name: value.detach().cpu() for name, value in state.items()}
    if file.suffix == safetensors_file.SUFFIX:
        with atomic_file(file) as stream:
            stream.write(safetensors_file.to_bytes(state, meta))
        return
    whole: dict[str, Any] = {"state_dict": state, "meta": meta}
    if target == "detectron2":
        # names are matched by their ends, so that backbone.bottom_up. need not stand before them
        whole = {"model": state, "__author__": "mmsscl", "matching_heuristics": True, "meta": meta}
    # not at once into the file: torch.save makes a RuntimeError of a full disk
    content = io.BytesIO()
    torch.save(whole, content)
    with atomic_file(file) as stream:
        stream.write(content.getbuffer())
