"""The top-level keys of a config that something reads."""

from typing import Any

from mmengine.config import Config

_RUNNER = """
model work_dir train_dataloader val_dataloader test_dataloader train_cfg val_cfg test_cfg auto_scale_lr optim_wrapper
param_scheduler val_evaluator test_evaluator default_hooks custom_hooks data_preprocessor load_from resume launcher
env_cfg log_processor log_level visualizer default_scope randomness experiment_name model_wrapper_cfg compile sync_bn
find_unused_parameters activation_checkpointing efficient_conv_bn_eval custom_imports runner_type vis_backends tta_model
tta_pipeline strategy
"""

RUNNER_KEYS = frozenset(_RUNNER.split())
"""Keys that mmengine's runner and the libraries' entry points read."""

OWN_KEYS = frozenset({"dataset_from_json", "dataset_from_folders"})
"""Keys that ``tools/train.py`` and ``tools/test.py`` of this package read besides."""

KNOWN_KEYS = RUNNER_KEYS | OWN_KEYS


def paths_to_value(config: Config, name: str) -> list[str]:
    """Dotted places that hold the same text as the variable ``name``: where a base config has used it.

    Args:
        config: The merged config.
        name: A top-level key.

    Returns:
        At most three places below known keys; none for a value that is no text.
    """
    value = config.get(name)
    if not isinstance(value, str) or not value:
        return []
    known = {key: config.get(key) for key in config if key in KNOWN_KEYS}
    return [path for path, leaf in leaves(known, "") if leaf == value][:3]


def leaves(node: Any, path: str) -> list[tuple[str, Any]]:
    """All values of a tree of dicts and lists, each with its dotted place below ``path``."""
    if isinstance(node, dict):
        return [leaf for key in node for leaf in leaves(node[key], f"{path}.{key}" if path else str(key))]
    if isinstance(node, (list, tuple)):
        return [leaf for index, item in enumerate(node) for leaf in leaves(item, f"{path}.{index}")]
    return [(path, node)]
