"""Mixed precision without a gradient scaler, on any device."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


# in mmengine's own registry, so that configs of every scope (mmdet's, mmpretrain's) find it
@OPTIM_WRAPPERS.register_module()
class Bfloat16OptimWrapper(OptimWrapper):
    """Run the forward pass under bfloat16 autocast; weights, gradients and the optimizer stay float32.

    mmengine's ``AmpOptimWrapper`` refuses to run on a CPU, and keeps a gradient scaler, which reads a flag back from the
    device at every step. bfloat16 has float32's range and needs neither.

    Args:
        **kwargs: As for ``mmengine.optim.OptimWrapper``.

    Example:
        >>> optim_wrapper = dict(type="Bfloat16OptimWrapper", optimizer=dict(type="SGD", lr=0.1))
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast on the model's device, besides what mmengine's context does (gradient accumulation)."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device_type=device, dtype=torch.bfloat16):
            yield

    def __repr__(self) -> str:
        return f"{super().__repr__()} (bfloat16 autocast)"


def use_mixed_precision(optim_wrapper: dict[str, Any], precision: str) -> None:
    """Switch an ``optim_wrapper`` config to mixed precision, in place.

    Args:
        optim_wrapper: Of type OptimWrapper, or of a mixed-precision one already.
        precision: "bf16" or "fp16"; fp16 needs a GPU and brings a gradient scaler.
    """
    for key in ("dtype", "loss_scale", "use_fsdp"):
        optim_wrapper.pop(key, None)
    if precision == "bf16":
        optim_wrapper["type"] = "Bfloat16OptimWrapper"
    else:
        optim_wrapper.update(type="AmpOptimWrapper", dtype="float16", loss_scale="dynamic")
