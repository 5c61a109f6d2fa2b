"""Hooks of the training run."""
from .deferred_log_hook import DeferredRuntimeInfoHook
from .momentum_update_hook import MomentumUpdateHook

__all__ = ["DeferredRuntimeInfoHook", "MomentumUpdateHook"]
