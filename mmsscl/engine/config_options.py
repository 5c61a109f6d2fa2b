"""Merge ``--cfg-options`` into a config."""

from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mmsscl.engine.config_keys import KNOWN_KEYS, OWN_KEYS, paths_to_value
from mmsscl.errors import InputError
from mmsscl.names import did_you_mean, near_names


def merge_options(config: Config, options: dict[str, Any], file: Path) -> None:
    """Merge the command line's options into a config, and refuse those that would have no effect.

    A key may be new below the top level, unless its name only just misses one beside it. Where the config says None,
    options may open a dictionary (``model.backbone.init_cfg.checkpoint=FILE`` makes a Pretrained ``init_cfg``).

    Args:
        config: Changed in place.
        options: Dotted keys and values.
        file: The config's file, for messages.

    Raises:
        InputError: Naming the key, the file and the nearest names.
    """
    for dotted, value in options.items():
        _check_option(config, dotted, value, file)
        _open_place(config, dotted, value)
    try:
        config.merge_from_dict(options)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise InputError(
            f"--cfg-options {' '.join(f'{key}={value}' for key, value in options.items())}: does not fit {file} ({error}). "
            "A key names nested settings by dots, and a list's items by number: train_pipeline is "
            "train_dataloader.dataset.pipeline.0 ..."
        ) from error


def _open_place(config: Config, dotted: str, value: Any) -> None:
    """Let options give a dictionary where the config says None, which mmengine refuses; mostly an ``init_cfg``."""
    parts = dotted.split(".")
    node: Any = config._cfg_dict
    for depth, part in enumerate(parts):
        if isinstance(node, (list, tuple)):
            node = node[int(part)]
            continue
        if part not in node:
            return
        if node[part] is None and (depth + 1 < len(parts) or isinstance(value, dict)):
            node[part] = ConfigDict(type="Pretrained") if parts[depth:] == ["init_cfg", "checkpoint"] else ConfigDict()
        node = node[part]


def _check_option(config: Config, dotted: str, value: Any, file: Path) -> None:
    parts = dotted.split(".")
    where = f"--cfg-options {dotted}={value}"
    if parts[0] not in KNOWN_KEYS:
        if parts[0] in config:
            used = paths_to_value(config, parts[0])
            remedy = f"Set {' or '.join(used)} instead." if used else "Set the key that uses it instead."
            raise InputError(f"{where}: {parts[0]!r} is a variable that {file} has used already. {remedy}")
        near = near_names(parts[0], KNOWN_KEYS & (set(config) | OWN_KEYS)) or near_names(parts[0], KNOWN_KEYS)
        known = f"Keys of this config: {', '.join(sorted(KNOWN_KEYS & set(config)))}."
        raise InputError(f"{where}: nothing reads a top-level key {parts[0]!r}. {did_you_mean(near, known)}")
    node: Any = config._cfg_dict
    for depth, part in enumerate(parts):
        done = ".".join(parts[:depth])
        if isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                raise InputError(f"{where}: {done} is a list of {len(node)} items; {part!r} is not a number below that.")
            node = node[int(part)]
            continue
        if not isinstance(node, dict):
            if node is None:
                return
            raise InputError(f"{where}: {done} is {node!r}, which has no key {part!r}. Set {done} itself.")
        if part not in node:
            near = near_names(part, node) if depth else []
            if near:
                raise InputError(f"{where}: {done} has no key {part!r} in {file}. {did_you_mean(near)}")
            return
        node = node[part]
