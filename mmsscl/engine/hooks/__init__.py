"""Hooks of the training run."""
from .backbone_weights_hook import BackboneWeightsHook
from .bad_photos_hook import BadPhotosHook
from .collapse_monitor_hook import CollapseMonitorHook
from .deferred_log_hook import DeferredRuntimeInfoHook
from .momentum_update_hook import MomentumUpdateHook
from .non_finite_hook import NonFiniteHook
from .online_probe_hook import OnlineProbeHook
from .preemption_hook import PreemptionHook
from .safe_checkpoint_hook import SafeCheckpointHook
from .saliency_refresh_hook import SaliencyRefreshHook
from .saliency_store_check_hook import SaliencyStoreCheckHook

__all__ = [
    "BackboneWeightsHook",
    "BadPhotosHook",
    "CollapseMonitorHook",
    "DeferredRuntimeInfoHook",
    "MomentumUpdateHook",
    "NonFiniteHook",
    "OnlineProbeHook",
    "PreemptionHook",
    "SafeCheckpointHook",
    "SaliencyRefreshHook",
    "SaliencyStoreCheckHook",
]
