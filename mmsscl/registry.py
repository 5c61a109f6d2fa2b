"""Registries of mmsscl: children of mmengine's root, in the scope ``mmsscl``.

Each names the subpackages that fill it, so that building from a config imports them on first use and
``import mmsscl`` stays cheap.
"""
from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import OPTIMIZERS as MMENGINE_OPTIMIZERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

MODELS = Registry("model", parent=MMENGINE_MODELS, scope="mmsscl", locations=["mmsscl.models"])
DATASETS = Registry("dataset", parent=MMENGINE_DATASETS, scope="mmsscl", locations=["mmsscl.datasets"])
DATA_SAMPLERS = Registry(
    "data sampler", parent=MMENGINE_DATA_SAMPLERS, scope="mmsscl", locations=["mmsscl.datasets"]
)
TRANSFORMS = Registry(
    "transform", parent=MMENGINE_TRANSFORMS, scope="mmsscl", locations=["mmsscl.datasets.transforms"]
)
HOOKS = Registry("hook", parent=MMENGINE_HOOKS, scope="mmsscl", locations=["mmsscl.engine"])
OPTIMIZERS = Registry("optimizer", parent=MMENGINE_OPTIMIZERS, scope="mmsscl", locations=["mmsscl.engine"])
OPTIM_WRAPPERS = Registry(
    "optimizer wrapper", parent=MMENGINE_OPTIM_WRAPPERS, scope="mmsscl", locations=["mmsscl.engine"]
)
METRICS = Registry("metric", parent=MMENGINE_METRICS, scope="mmsscl", locations=["mmsscl.evaluation"])
