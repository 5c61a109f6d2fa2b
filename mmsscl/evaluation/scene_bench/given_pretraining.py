"""A pretraining that was run before, or elsewhere: taken into a cell if it is the one that the cell would run."""
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmsscl.engine.config_keys import leaves
from mmsscl.errors import InputError
from mmsscl.zoo.read_backbone import stored_config
from mmsscl.zoo.safe_load import load_checkpoint

_DECISIVE = (
    "model", "param_scheduler", "custom_hooks", "optim_wrapper.optimizer", "optim_wrapper.paramwise_cfg",
    "optim_wrapper.accumulative_counts", "optim_wrapper.clip_grad", "train_cfg.max_epochs", "randomness.seed",
    "train_dataloader.batch_size", "train_dataloader.dataset.pipeline", "train_dataloader.dataset.indices",
)  # fmt: skip


def check_given(config: Config, checkpoint: str | Path) -> None:
    """Check that a checkpoint is the end of the training that a config describes.

    Compared are the model, the optimizer, its schedules, the hooks of the method, batch, epochs, seed and the data
    pipeline, as the checkpoint's own config says them. Where the photos lie, and how many there are, is not.

    Args:
        config: The cell's.
        checkpoint: Written at the end of its last epoch.

    Raises:
        InputError: It cannot be read, was trained otherwise (says in what), or is not of the last epoch.
    """
    content = load_checkpoint(checkpoint, mmap=True)
    stored, own = stored_config(content, checkpoint), config.to_dict()
    found, wanted = _decisive(stored), _decisive(own)
    differ = sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path))
    if differ:
        told = "; ".join(f"{path} {found.get(path)!r}, the bench's is {wanted.get(path)!r}" for path in differ[:3])
        raise InputError(f"{checkpoint}: was trained with {told}. Give one of the same training, or let the bench train.")
    epoch = content.get("meta", {}).get("epoch")
    if epoch != config.train_cfg.max_epochs:
        raise InputError(f"{checkpoint}: is of epoch {epoch}; the bench compares after epoch {config.train_cfg.max_epochs}.")


def _decisive(tree: dict[str, Any]) -> dict[str, Any]:
    return {path: value for key in _DECISIVE for path, value in leaves(_at(tree, key), key)}


def _at(tree: dict[str, Any], path: str) -> Any:
    node: Any = tree
    for key in path.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    return node
