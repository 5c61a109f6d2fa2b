"""Turn a pretraining checkpoint into a backbone file that mmdet and mmpretrain load."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmsscl.atomic_file import atomic_file
from mmsscl.errors import InputError
from mmsscl.version import __version__
from mmsscl.zoo.file_hash import sha256_of
from mmsscl.zoo.key_difference import compare_keys
from mmsscl.zoo.read_backbone import BRANCH_PREFIXES, StoredBackbone, build_backbone, read_backbone


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        path: The file.
        matched: Tensors that filled the backbone when it was built and loaded again, strictly.
        keys: Parameters and buffers of the backbone (318 for ResNet-50).
        sha256: Of the file, in hexadecimal.
    """

    path: str
    matched: int
    keys: int
    sha256: str


def export_backbone(checkpoint: str | Path, output: str | Path, branch: str = "online") -> ExportReport:
    """Write the backbone of a pretraining checkpoint as a file for ``init_cfg=dict(type="Pretrained", ...)``.

    The file holds ``state_dict`` with plain backbone keys (``conv1.weight``, ...) and ``meta``: ``arch``, ``backbone``
    (its config), ``mean`` and ``std`` in 0..255, ``channel_order``, ``source``, ``branch``, ``mmsscl_version``. The
    backbone is built from the config stored in the checkpoint and loaded strictly before anything is written, and the
    file appears whole or not at all.

    Args:
        checkpoint: A checkpoint of ``tools/train.py``.
        output: Where to write; folders are made.
        branch: "online" (trained by gradients) or "target" (its moving average).

    Returns:
        The report of what was written.

    Raises:
        InputError: If the checkpoint cannot be read, holds no config or no such branch, or its backbone and its config
            disagree.

    Example:
        >>> export_backbone("work_dirs/scrl_r50_coco/epoch_200.pth", "backbone.pth").matched  # doctest: +SKIP
        318
    """
    source, file = Path(checkpoint), Path(output)
    if branch not in BRANCH_PREFIXES:
        raise InputError(f"--branch {branch}: no such branch. Use one of: {', '.join(BRANCH_PREFIXES)}.")
    if file.is_dir():
        raise InputError(f"{file}: is a folder. Name the file to write, for example {file / 'backbone.pth'}.")
    stored = read_backbone(source, branch)
    if stored.exported:
        raise InputError(f"checkpoint {source}: is a backbone that has been exported already: use it as it is.")
    matched, keys = _verify(stored, source)
    meta = {
        "arch": _arch_name(stored.config),
        "backbone": stored.config,
        "scope": stored.scope,
        **stored.normalisation,
        "source": source.name,
        "branch": branch,
        "mmsscl_version": __version__,
    }
    with atomic_file(file) as stream:
        torch.save({"state_dict": stored.state, "meta": meta}, stream)
    return ExportReport(str(file), matched, keys, sha256_of(file))


def _verify(stored: StoredBackbone, path: Path) -> tuple[int, int]:
    backbone = build_backbone(stored)
    own = backbone.state_dict()
    difference = compare_keys(own, stored.state)
    if difference:
        raise InputError(
            f"checkpoint {path}: its backbone is not the one its config describes ({_arch_name(stored.config)}): "
            f"{difference.describe()}. Export from the checkpoint as training wrote it."
        )
    backbone.load_state_dict(stored.state, strict=True)
    return len(own.keys() & stored.state.keys()), len(own)


def _arch_name(backbone_config: dict[str, Any]) -> str:
    name = str(backbone_config["type"]).rsplit(".", 1)[-1]
    size = backbone_config.get("depth", backbone_config.get("arch"))
    return name if size is None else f"{name}-{size}"
