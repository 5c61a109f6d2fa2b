"""Registries of mmsscl: children of mmengine's root, in the scope ``mmsscl``.

Each names the subpackage that fills it, so that building from a config imports it on first use and ``import mmsscl``
stays cheap. Those that mmsscl adds nothing to exist all the same: mmengine warns about a scope that lacks one.
"""
from mmengine.registry import root
from mmengine.registry.registry import Registry


def _child(parent: Registry, location: str) -> Registry:
    return Registry(parent.name, parent=parent, scope="mmsscl", locations=[location])


MODELS = _child(root.MODELS, "mmsscl.models")
DATASETS = _child(root.DATASETS, "mmsscl.datasets")
DATA_SAMPLERS = _child(root.DATA_SAMPLERS, "mmsscl.datasets")
TRANSFORMS = _child(root.TRANSFORMS, "mmsscl.datasets.transforms")
HOOKS = _child(root.HOOKS, "mmsscl.engine")
OPTIMIZERS = _child(root.OPTIMIZERS, "mmsscl.engine")
OPTIM_WRAPPERS = _child(root.OPTIM_WRAPPERS, "mmsscl.engine")

OPTIM_WRAPPER_CONSTRUCTORS = _child(root.OPTIM_WRAPPER_CONSTRUCTORS, "mmsscl.engine")
PARAM_SCHEDULERS = _child(root.PARAM_SCHEDULERS, "mmsscl.engine")
LOOPS = _child(root.LOOPS, "mmsscl.engine")
LOG_PROCESSORS = _child(root.LOG_PROCESSORS, "mmsscl.engine")
VISUALIZERS = _child(root.VISUALIZERS, "mmsscl.engine")
VISBACKENDS = _child(root.VISBACKENDS, "mmsscl.engine")
WEIGHT_INITIALIZERS = _child(root.WEIGHT_INITIALIZERS, "mmsscl.engine")
MODEL_WRAPPERS = _child(root.MODEL_WRAPPERS, "mmsscl.engine")
RUNNERS = _child(root.RUNNERS, "mmsscl.engine")
METRICS = _child(root.METRICS, "mmsscl.evaluation")
