"""Turn a pretraining checkpoint into a backbone file that mmdet and mmpretrain load."""

import ast
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmsscl.atomic_file import atomic_file
from mmsscl.errors import InputError
from mmsscl.version import __version__
from mmsscl.zoo.key_difference import compare_keys
from mmsscl.zoo.safe_load import load_checkpoint, state_dict_of

BRANCH_PREFIXES = {"online": "backbone.", "target": "target.backbone."}


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
    content = load_checkpoint(source)
    state = _branch_state(state_dict_of(content, source), branch, source)
    config = stored_config(content, source)
    backbone_config = _backbone_config(config, source)
    matched, keys = _verify(backbone_config, state, config.get("default_scope"), source)
    meta = {
        "arch": _arch_name(backbone_config),
        "backbone": backbone_config,
        **_normalisation(config, source),
        "source": source.name,
        "branch": branch,
        "mmsscl_version": __version__,
    }
    with atomic_file(file) as stream:
        torch.save({"state_dict": state, "meta": meta}, stream)
    return ExportReport(str(file), matched, keys, hashlib.sha256(file.read_bytes()).hexdigest())


def stored_config(checkpoint: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """The config that mmengine stored in a checkpoint, read without running it.

    mmengine stores Python text; executing it would let a checkpoint run code. Only literals and ``dict(...)`` are read.

    Args:
        checkpoint: What ``load_checkpoint`` returned.
        path: Its file, for the message.

    Returns:
        The config as plain dictionaries, lists and values.

    Raises:
        InputError: If there is no config, or it holds anything but literals.
    """
    meta = checkpoint.get("meta")
    text = meta.get("cfg") if isinstance(meta, dict) else None
    if not isinstance(text, str):
        raise InputError(
            f"checkpoint {path}: holds no training config (meta.cfg), so its architecture is unknown. "
            "Give a checkpoint written by tools/train.py (epoch_*.pth or iter_*.pth)."
        )
    try:
        statements = ast.parse(text).body
        return {
            target.id: _literal(statement.value)
            for statement in statements
            if isinstance(statement, ast.Assign)
            for target in statement.targets
            if isinstance(target, ast.Name)
        }
    except (SyntaxError, ValueError) as error:
        raise InputError(
            f"checkpoint {path}: its stored config cannot be read ({error}). "
            "Give a checkpoint written by tools/train.py."
        ) from error


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        merged = dict(_literal(node.args[0])) if node.args else {}
        for keyword in node.keywords:
            value = _literal(keyword.value)
            merged.update(value if keyword.arg is None else {keyword.arg: value})
        return merged
    if isinstance(node, ast.Dict):
        return {_literal(key): _literal(value) for key, value in zip(node.keys, node.values) if key is not None}
    if isinstance(node, ast.List):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_literal(item) for item in node.elts)
    if isinstance(node, ast.Name) and node.id in ("inf", "nan"):
        return float(node.id)
    if isinstance(node, (ast.Constant, ast.UnaryOp, ast.BinOp, ast.Set)):
        return ast.literal_eval(node)
    # a class or a call, such as a dtype: nothing an architecture is described by
    return None


def _branch_state(state: dict[str, torch.Tensor], branch: str, path: Path) -> dict[str, torch.Tensor]:
    prefix = BRANCH_PREFIXES[branch]
    chosen = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if chosen:
        return chosen
    present = sorted({name.split(".")[0] for name in state})
    if branch == "target" and any(name.startswith("backbone.") for name in state):
        remedy = "It has no momentum branch: use --branch online."
    elif "conv1" in present or "patch_embed" in present:
        remedy = "It looks like a backbone that has been exported already: use it as it is."
    else:
        remedy = "Give a checkpoint written by tools/train.py."
    raise InputError(f"checkpoint {path}: no key begins with {prefix!r} (it holds: {', '.join(present[:8])}). {remedy}")


def _backbone_config(config: dict[str, Any], path: Path) -> dict[str, Any]:
    model = config.get("model")
    backbone = model.get("backbone") if isinstance(model, dict) else None
    if not isinstance(backbone, dict) or "type" not in backbone:
        raise InputError(
            f"checkpoint {path}: its stored config has no model.backbone. Give a checkpoint written by tools/train.py."
        )
    return {key: value for key, value in backbone.items() if key != "init_cfg"}


def _verify(
    backbone_config: dict[str, Any], state: dict[str, torch.Tensor], scope: Any, path: Path
) -> tuple[int, int]:
    from mmsscl.registry import MODELS

    config = dict(backbone_config, _scope_=scope) if isinstance(scope, str) else dict(backbone_config)
    backbone = MODELS.build(config)
    own = backbone.state_dict()
    difference = compare_keys(own, state)
    if difference:
        raise InputError(
            f"checkpoint {path}: its backbone is not the one its config describes ({_arch_name(backbone_config)}): "
            f"{difference.describe()}. Export from the checkpoint as training wrote it."
        )
    backbone.load_state_dict(state, strict=True)
    return len(own.keys() & state.keys()), len(own)


def _arch_name(backbone_config: dict[str, Any]) -> str:
    name = str(backbone_config["type"]).rsplit(".", 1)[-1]
    size = backbone_config.get("depth", backbone_config.get("arch"))
    return name if size is None else f"{name}-{size}"


def _normalisation(config: dict[str, Any], path: Path) -> dict[str, Any]:
    preprocessor = (config.get("model") or {}).get("data_preprocessor") or config.get("data_preprocessor") or {}
    # a config may leave these to the constructor: then they are what the built preprocessor holds
    if preprocessor.get("mean") is None or preprocessor.get("std") is None:
        preprocessor = {**_built_normalisation(preprocessor, config, path), **preprocessor}
    rgb = any(preprocessor.get(key) for key in ("to_rgb", "bgr_to_rgb"))
    own = str(preprocessor.get("type", "")).endswith("PairDataPreprocessor")
    return {
        "mean": [float(value) for value in preprocessor["mean"]],
        "std": [float(value) for value in preprocessor["std"]],
        "channel_order": "RGB" if rgb or own else "BGR",
    }


def _built_normalisation(preprocessor: dict[str, Any], config: dict[str, Any], path: Path) -> dict[str, Any]:
    if "type" not in preprocessor:
        raise InputError(
            f"checkpoint {path}: its config has no data_preprocessor with mean and std, so nobody could tell how to "
            "normalise images for this backbone. Give a checkpoint written by tools/train.py."
        )
    from mmsscl.registry import MODELS

    built = MODELS.build(dict(preprocessor, _scope_=config.get("default_scope", "mmsscl")))
    found = {key: getattr(built, key, None) for key in ("mean", "std")}
    if any(value is None for value in found.values()):
        raise InputError(f"checkpoint {path}: {preprocessor['type']} has no mean and std. Name them in its config.")
    return {key: torch.as_tensor(value).flatten().tolist() for key, value in found.items()}
