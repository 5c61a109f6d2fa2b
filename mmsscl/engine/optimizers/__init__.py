"""Optimizers and the wrapper that steps them in mixed precision."""
from mmsscl.engine.optimizers.bfloat16_optim_wrapper import BFloat16OptimWrapper
from mmsscl.engine.optimizers.lars import LARS

__all__ = ["LARS", "BFloat16OptimWrapper"]
