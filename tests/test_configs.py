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
    methods = ("scrl", "byol", "sgcl", "scrl_sgcl")
    assert {f"configs/{method}_r50_coco.py" for method in methods} <= set(PRETRAINING)
    assert {f"configs/scenes/{method}_r18_scenes.py" for method in methods} <= set(PRETRAINING)
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


def changed(path: str, base: str) -> set[str]:
    """Top-level keys in which two configs differ, names of parts of a pipeline aside."""
    one, other = (Config.fromfile(ROOT / f"configs/{name}.py").to_dict() for name in (path, base))
    parts = {"views", "load_saliency", "pair", "local_crops", "photometric_draw", "train_pipeline", "contrastive"}
    parts |= {"saliency_refresh"}
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)} - parts


def pipeline(path: str) -> list[dict]:
    return Config.fromfile(ROOT / f"configs/{path}.py").to_dict()["train_dataloader"]["dataset"]["pipeline"]


@pytest.mark.parametrize(
    ("path", "base"),
    [
        ("sgcl_r50_coco", "byol_r50_coco"),
        ("sgcl_r50_coco", "scrl_r50_coco"),
        ("scrl_sgcl_r50_coco", "scrl_r50_coco"),
        ("scenes/sgcl_r18_scenes", "scenes/byol_r18_scenes"),
        ("scenes/scrl_sgcl_r18_scenes", "scenes/scrl_r18_scenes"),
    ],
)
def test_sgcl_differs_in_model_and_views_and_refreshes_only(path, base):
    assert changed(path, base) == {"model", "train_dataloader", "custom_hooks"}
    one, other = (Config.fromfile(ROOT / f"configs/{name}.py").to_dict() for name in (path, base))
    assert one["custom_hooks"][0] == other["custom_hooks"][0]
    assert [hook["type"] for hook in one["custom_hooks"][1:]] == ["SaliencyRefreshHook"]
    loaders = [config["train_dataloader"] | {"dataset": None} for config in (one, other)]
    assert loaders[0] == loaders[1]
    datasets = [config["train_dataloader"]["dataset"] | {"pipeline": None} for config in (one, other)]
    assert datasets[0] == datasets[1]
    assert {key for key in one["model"] if one["model"][key] != other["model"].get(key)} <= {
        "type", "regions", "neck", "head", "region_head", "local_head"
    }
    # Where saliency has no strength, its crop laws are these (tests of the laws show it).
    pairs = [next(t for t in pipeline(name) if t["type"] == "SpatialConsistentPair") for name in (path, base)]
    assert pairs[0]["size"] == pairs[1]["size"]
    for mine, plain in zip(pairs[0]["views"], pairs[1]["views"]):
        assert {key: mine[key] for key in plain} == {**plain, "type": "SaliencyCrop"}
    assert {**pairs[0]["boxes"], "type": "GridBoxes"} == pairs[1]["boxes"]
    draws = [next(t for t in pipeline(name) if t["type"] == "DrawPhotometric") for name in (path, base)]
    assert draws[0] == draws[1]


@pytest.mark.parametrize("source", ["shuffled", "gaussian", "uniform"])
def test_controls_differ_in_the_source_of_the_maps_only(source):
    assert changed(f"sgcl/sgcl_{source}_r50_coco", "sgcl_r50_coco") == {"train_dataloader"}
    mine, plain = pipeline(f"sgcl/sgcl_{source}_r50_coco"), pipeline("sgcl_r50_coco")
    assert [t for t in mine if t not in plain] == [{"type": "LoadSaliency", "source": source}]
    assert [t for t in plain if t not in mine] == [{"type": "LoadSaliency"}]


def test_ablations_differ_in_one_thing():
    assert changed("sgcl/sgcl_crop_only_r50_coco", "sgcl_r50_coco") == {"model"}
    crop_only = Config.fromfile(ROOT / "configs/sgcl/sgcl_crop_only_r50_coco.py").model.to_dict()
    full = Config.fromfile(ROOT / "configs/sgcl_r50_coco.py").model.to_dict()
    assert crop_only == {**full, "weigh": False}
    assert changed("sgcl/sgcl_weights_only_r50_coco", "sgcl_r50_coco") == {"train_dataloader"}
    mine, plain = pipeline("sgcl/sgcl_weights_only_r50_coco"), pipeline("sgcl_r50_coco")
    assert [t["type"] for t in mine] == [t["type"] for t in plain]
    assert {t["type"] for t, other in zip(mine, plain) if t != other} == {"SpatialConsistentPair", "LocalCrops"}
    pair = next(t for t in mine if t["type"] == "SpatialConsistentPair")
    assert pair["views"] == next(t for t in pipeline("byol_r50_coco") if t["type"] == "SpatialConsistentPair")["views"]
    assert next(t for t in mine if t["type"] == "LocalCrops")["lambda_max"] == 0
    assert changed("sgcl/sgcl_moco_r50_coco", "sgcl_r50_coco") == {"model"}
    baseline = pipeline("sgcl/byol_local_r50_coco")
    assert baseline == [t for t in plain if t["type"] not in ("LoadSaliency", "ScoreCrops")]


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
