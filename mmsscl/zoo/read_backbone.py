"""The backbone in a checkpoint of training, or in a file of ``mmsscl export``: its config, weights and normalisation."""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from mmsscl.errors import InputError
from mmsscl.zoo.key_styles import style_of
from mmsscl.zoo.safe_load import load_checkpoint, state_dict_of
from mmsscl.zoo.told_normalisation import Told, told_normalisation

BRANCH_PREFIXES = {"online": "backbone.", "target": "target.backbone."}


class StoredBackbone(NamedTuple):
    """What a file says of its backbone.

    Attributes:
        config: To build it with, without ``init_cfg``.
        scope: The registry's scope that names in ``config`` are of; None: full names.
        state: Name to tensor.
        told: What the file says of its images.
        branch: "online" or "target".
        exported: Whether the file is one of ``mmsscl export``.
    """

    config: dict[str, Any]
    scope: str | None
    state: dict[str, torch.Tensor]
    told: Told
    branch: str
    exported: bool


def read_backbone(path: str | Path, branch: str | None = None) -> StoredBackbone:
    """Read the backbone of a training checkpoint or of a file of ``mmsscl export``.

    Args:
        path: The file.
        branch: "online" (trained by gradients) or "target" (its moving average); None: "online", or the one that was
            exported.

    Raises:
        InputError: The file cannot be read, holds no config or no such branch, or does not tell how images were normalised.
    """
    if branch is not None and branch not in BRANCH_PREFIXES:
        raise InputError(f"--branch {branch}: no such branch. Use one of: {', '.join(BRANCH_PREFIXES)}.")
    stored = read_content(load_checkpoint(path), path, branch)
    if stored.told.normalisation is None:
        raise InputError(f"{stored.told.fault} Give a checkpoint written by tools/train.py, or a file of mmsscl export.")
    return stored


def read_content(content: dict[str, Any], path: str | Path, branch: str | None = None) -> StoredBackbone:
    """The same, of a file that has been read; it need not tell how images were normalised.

    Args:
        content: What ``load_checkpoint`` returned.
        path: Its file, for messages.
        branch: As of :func:`read_backbone`.
    """
    source = Path(path)
    state, meta = state_dict_of(content, source), meta_of(content)
    if is_export(meta):
        exported = str(meta.get("branch", "online"))
        if branch not in (None, exported):
            raise InputError(f"--branch {branch}: {source} holds the {exported} branch only. Leave the option out.")
        backbone, told = meta["backbone"], told_normalisation(meta, {}, source)
        if not isinstance(backbone, dict) or not isinstance(backbone.get("type"), str):
            raise InputError(
                f"checkpoint {path}: its meta.backbone is no config of a backbone ({backbone!r}). Export it again from the "
                "checkpoint of training."
            )
        return StoredBackbone(dict(backbone), meta.get("scope"), _own_names(state), told, exported, True)
    config = stored_config(content, source)
    branch = branch or "online"
    state = _branch_state(state, branch, source)
    scope = config.get("default_scope")
    scope = scope if isinstance(scope, str) else None
    told = told_normalisation(meta, config, source)
    if told.normalisation is None and not told.fault:
        told = Told(None, fault=f"checkpoint {path}: its config has no data_preprocessor with mean and std.")
    return StoredBackbone(_backbone_config(config, source), scope, state, told, branch, False)


def meta_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint holds beside its tensors; empty where there is nothing."""
    meta = content.get("meta")
    return meta if isinstance(meta, dict) else {}


def is_export(meta: Mapping[str, Any]) -> bool:
    """Whether a file with this meta is one of ``mmsscl export``."""
    return {"backbone", "mean", "std", "channel_order"} <= meta.keys()


def build_backbone(stored: StoredBackbone, **changes: Any) -> nn.Module:
    """The module of a stored backbone, with weights of its own.

    Args:
        stored: From :func:`read_backbone`.
        **changes: Other values in its config.
    """
    from mmsscl.registry import MODELS

    scope = {} if stored.scope is None else {"_scope_": stored.scope}
    built: nn.Module = MODELS.build({**stored.config, **scope, **changes})
    return built


def stored_config(checkpoint: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """The config that mmengine, or a runner of mmcv 1.x, stored in a checkpoint, read without running it.

    They store Python text; executing it would let a checkpoint run code. Only literals and ``dict(...)`` are read.

    Args:
        checkpoint: What ``load_checkpoint`` returned.
        path: Its file, for the message.

    Returns:
        The config as plain dictionaries, lists and values.

    Raises:
        InputError: If there is no config, or it holds anything but literals.
    """
    text = config_text(meta_of(checkpoint))
    if text is None:
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


def config_text(meta: Mapping[str, Any]) -> str | None:
    """The training config in a file's meta: ``cfg`` by mmengine, ``config`` by mmcv 1.x (mmselfsup 0.x, mmdet 2.x)."""
    return next((meta[key] for key in ("cfg", "config") if isinstance(meta.get(key), str)), None)


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


def _own_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """mmpretrain's names, whichever library a file was exported for."""
    if all(name.startswith("backbone.") for name in state):
        state = {name.removeprefix("backbone."): value for name, value in state.items()}
    style = style_of(set(state))
    return dict(state) if style is None else style.to_mmpretrain(state)


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
