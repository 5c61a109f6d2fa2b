"""What stands between the tensors of a file and those of a module."""
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class KeyDifference:
    """Keys on which a file and a module disagree; false where there are none.

    Attributes:
        missing: of the module, not in the file.
        unexpected: in the file, not of the module.
        reshaped: in both with different shapes: key, the file's and the module's shape.
    """

    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.reshaped)

    def describe(self, **more: list[str]) -> str:
        """List the keys by kind, a dozen of each at most.

        Args:
            **more: further kinds of fault; underscores in a name become spaces.

        Example:
            >>> KeyDifference(["a.weight"], [], []).describe()
            '1 missing in the file: a.weight'
        """
        kinds = {
            "missing in the file": self.missing,
            "unexpected in the file": self.unexpected,
            "of another shape": self.reshaped,
            **{kind.replace("_", " "): keys for kind, keys in more.items()},
        }
        return "; ".join(f"{len(keys)} {kind}: {_some(keys)}" for kind, keys in kinds.items() if keys)


def compare_keys(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> KeyDifference:
    """Compare a module's tensors with a file's, by name and shape.

    Args:
        own: ``state_dict`` of the module.
        state: ``state_dict`` of the file.
    """
    return KeyDifference(
        missing=[name for name in own if name not in state],
        unexpected=[name for name in state if name not in own],
        reshaped=[
            f"{name} (file {tuple(state[name].shape)}, model {tuple(own[name].shape)})"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ],
    )


def drop_pretrained_init(node: Any) -> None:
    """Remove every pretrained initialisation below a model config, in place.

    For models that a checkpoint fills whole: what they once started from is not needed, and may be gone.
    """
    if isinstance(node, dict):
        initial = node.get("init_cfg")
        if isinstance(initial, dict) and initial.get("type") == "Pretrained":
            node["init_cfg"] = None
        for value in node.values():
            drop_pretrained_init(value)
    elif isinstance(node, (list, tuple)):
        for item in node:
            drop_pretrained_init(item)


def _some(keys: list[str], count: int = 12) -> str:
    return ", ".join(keys[:count]) + (f", ... ({len(keys) - count} more)" if len(keys) > count else "")
