"""Hooks of the training run."""
from .backbone_weights_hook import BackboneWeightsHook
from .deferred_log_hook import DeferredRuntimeInfoHook
from .momentum_update_hook import MomentumUpdateHook

__all__ = ["BackboneWeightsHook", "DeferredRuntimeInfoHook", "MomentumUpdateHook"]
