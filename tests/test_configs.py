"""Every config parses, names only components that exist, and builds its model."""
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope

import mmsscl  # noqa: F401  (serves mmcv's compiled operators before mmdet is imported)
from mmsscl.registry import DATA_SAMPLERS, HOOKS, MODELS, OPTIM_WRAPPERS, OPTIMIZERS, TRANSFORMS

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "configs").rglob("*.py") if "_base_" not in p.parts)
PRETRAINING = [p for p in CONFIGS if "PackPair" in str(Config.fromfile(ROOT / p).get("train_pipeline", ""))]


@pytest.fixture(autouse=True)
def _scope():
    """Keep mmengine's global default scope from leaking between configs."""
    yield
    DefaultScope._instance_dict.clear()


def load(path: str) -> Config:
    config = Config.fromfile(ROOT / path)
    init_default_scope(config.default_scope)
    return config


def test_the_configs_a_user_types_exist():
    assert {"configs/scrl_r50_coco.py", "configs/byol_r50_coco.py"} <= set(PRETRAINING)
    assert len(CONFIGS) > len(PRETRAINING) > 5


@pytest.mark.parametrize("path", CONFIGS)
def test_leaf_is_short(path):
    lines = (ROOT / path).read_text().splitlines()
    assert len(lines) <= 40, f"{path} has {len(lines)} lines: move shared settings to a base config"


@pytest.mark.parametrize("path", CONFIGS)
def test_builds(path):
    config = load(path)
    if config.default_scope == "mmdet":
        from mmdet.utils import register_all_modules

        register_all_modules(init_default_scope=False)
    backbone = config.model.backbone
    if backbone.get("init_cfg"):
        assert backbone.init_cfg.type == "Pretrained"
    model = MODELS.build(config.model)
    assert sum(p.numel() for p in model.parameters()) > 1e6
    for hook in config.get("custom_hooks", []):
        assert HOOKS.get(hook.type) is not None, hook.type
    assert OPTIM_WRAPPERS.get(config.optim_wrapper.type) is not None
    assert OPTIMIZERS.get(config.optim_wrapper.optimizer.type) is not None


@pytest.mark.parametrize("path", PRETRAINING)
def test_pretraining_pipeline_builds(path):
    config = load(path)
    dataset = config.train_dataloader.dataset
    for transform in dataset.pipeline:
        assert TRANSFORMS.build(transform) is not None
    assert DATA_SAMPLERS.get(config.train_dataloader.sampler.type) is not None
    pair = next(t for t in dataset.pipeline if t.type == "SpatialConsistentPair")
    assert pair.size % config.model.neck.get("stride", 1) == 0
    assert {hook.type for hook in config.custom_hooks} >= {"MomentumUpdateHook"}


def test_byol_differs_from_scrl_in_the_model_only():
    scrl, byol = (Config.fromfile(ROOT / f"configs/{name}_r50_coco.py").to_dict() for name in ("scrl", "byol"))
    assert {key for key in scrl if scrl[key] != byol[key]} == {"model"}
    assert {key for key in scrl["model"] if scrl["model"][key] != byol["model"].get(key)} == {"type", "neck"}


def test_learning_rates_follow_the_authors_rule():
    for path, base in {
        "configs/scrl_r50_coco.py": 0.2,
        "configs/scrl/scrl_r50_32xb256-1000e_in1k.py": 0.2,
        "configs/scrl/scrl_r50_32xb256-200e_in1k.py": 0.45,
        "configs/scrl/scrl_r50_1xb64-accum4-800e_coco.py": 0.2,
        "configs/scrl/scrl_r50_1xb64-accum8-800e_coco.py": 0.2,
    }.items():
        config = Config.fromfile(ROOT / path)
        batch = config.auto_scale_lr.base_batch_size
        assert config.optim_wrapper.optimizer.lr == pytest.approx(base * batch / 256), path
