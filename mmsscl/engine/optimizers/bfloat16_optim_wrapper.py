"""Mixed precision in bfloat16, without a gradient scaler, on any device."""
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmsscl.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Run the forward pass under bfloat16 autocast; step the optimizer in float32.

    bfloat16 has the exponent range of float32, so no loss scaling is needed. mmengine's ``AmpOptimWrapper`` refuses to
    run on a CPU and always builds a ``GradScaler``, which synchronises the device at every step; this wrapper does
    neither. It works with gradient accumulation as :class:`mmengine.optim.OptimWrapper` does.

    Args:
        **kwargs: arguments of :class:`mmengine.optim.OptimWrapper` (``optimizer``, ``accumulative_counts``, ...).

    Example:
        >>> optim_wrapper = dict(type="BFloat16OptimWrapper", optimizer=dict(type="LARS", lr=0.4))
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter accumulation's ``no_sync`` where it applies, and bfloat16 autocast on the model's device."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device_type=device, dtype=torch.bfloat16):
            yield
