"""The SGCL configs from photos to a step of the optimizer: their own pipeline, preprocessor and model, made small."""
import copy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from torch.utils.data import default_collate

from mmsscl.datasets.transforms.find import find_transforms
from mmsscl.datasets.transforms.load_saliency import LoadSaliency
from mmsscl.engine.config import load_config
from mmsscl.engine.preflight import check_config
from mmsscl.registry import DATASETS, HOOKS, MODELS, TRANSFORMS
from mmsscl.saliency.fingerprint import dataset_fingerprint
from mmsscl.saliency.schedule import SaliencySchedule
from mmsscl.saliency.store import SaliencyStore

ROOT = Path(__file__).resolve().parents[1]
IMAGES = 4
LOSSES = {
    "sgcl_r50_coco": {"global", "local"},
    "scrl_sgcl_r50_coco": {"global", "region"},
    "sgcl/sgcl_moco_r50_coco": {"global", "local"},
    "sgcl/sgcl_crop_only_r50_coco": {"global", "local"},
    "sgcl/sgcl_weights_only_r50_coco": {"global", "local"},
    "sgcl/sgcl_shuffled_r50_coco": {"global", "local"},
    "sgcl/sgcl_gaussian_r50_coco": {"global", "local"},
    "sgcl/sgcl_uniform_r50_coco": {"global", "local"},
    "sgcl/byol_local_r50_coco": {"global", "local"},
    "sgcl/scrl_byol_r50_coco": {"global", "region"},
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for index in range(IMAGES):
        coarse = generator.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{index}.jpg"), cv2.resize(coarse, (200, 150), interpolation=cv2.INTER_CUBIC))
    return folder


def make_small(config):
    """The same components, in sizes for a CPU."""
    model = config.model
    model.backbone.depth = 18
    model.neck.update(in_channels=512, hidden_channels=32, out_channels=16)
    for name in ("head", "region_head", "local_head"):
        head = model.get(name)
        if head is not None and head.type == "WeightedPredictHead":
            head.update(in_channels=16, hidden_channels=32, out_channels=16)
        elif head is not None:
            head.update(channels=16, queue_size=32)
    for step in config.train_dataloader.dataset.pipeline:
        if step.type == "SpatialConsistentPair":
            step.size = 96
            step.boxes.min_size = 16
        elif step.type == "LocalCrops":
            step.size = 32
    return config


def build(config, photos, tmp_path):
    """Model and data set; the maps are a store with the left half salient, followed fully in epoch 1."""
    init_default_scope(config.default_scope)
    source = config.train_dataloader.dataset
    source.data_root = str(photos)
    dataset = DATASETS.build(source)
    values = np.zeros((IMAGES, 14, 14), np.uint8)
    values[:, 2:12, :7] = 255
    fingerprint = dataset_fingerprint(dataset)
    SaliencyStore.create(tmp_path / "store", fingerprint, IMAGES, 14)
    store = SaliencyStore.open(tmp_path / "store", writable=True)
    store.write(np.arange(IMAGES), values, np.full(IMAGES, 255, np.uint8))
    store.commit(1)
    for reader in find_transforms(dataset, LoadSaliency):
        reader.connect(str(tmp_path / "store"), SaliencySchedule(1, 1, 1, 4), fingerprint)
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(config.model)).train()
    return model, dataset


def step(model, dataset, epoch):
    """One training step on all photos as they are in an epoch; what was logged."""
    batch = default_collate([dataset[(epoch, index)] for index in range(IMAGES)])
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
    before = copy.deepcopy([param.detach() for param in model.parameters() if param.requires_grad])
    logged = model.train_step(batch, wrapper)
    moved = [not torch.equal(old, new) for old, new in zip(before, (p for p in model.parameters() if p.requires_grad))]
    assert np.mean(moved) > 0.9
    return {name: float(value) for name, value in logged.items()}


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_from_photos_to_weights(name, photos, tmp_path):
    model, dataset = build(make_small(Config.fromfile(ROOT / f"configs/{name}.py")), photos, tmp_path)
    warm, guided = step(model, dataset, 0), step(model, dataset, 1)
    terms = {key.removeprefix("loss_") for key in guided if key.startswith("loss_")}
    assert terms == LOSSES[name]
    assert all(np.isfinite(value) for logged in (warm, guided) for value in logged.values())
    if "byol" in name:
        assert "saliency_guidance" not in guided
        assert "effective_sample_size" not in guided
        return
    assert warm["saliency_guidance"] == 0
    assert guided["saliency_guidance"] == 1
    if "crop_only" not in name:
        assert warm["effective_sample_size"] == 1
        assert 0.3 < guided["effective_sample_size"] < 0.999


def test_local_crops_join_scrl_and_sgcl_as_the_config_says(photos, tmp_path):
    config, sgcl = (Config.fromfile(ROOT / f"configs/{name}_r50_coco.py") for name in ("scrl_sgcl", "sgcl"))
    config.model.local_head = sgcl.model.local_head
    config.train_dataloader.dataset.pipeline.insert(3, config.local_crops)
    model, dataset = build(make_small(config), photos, tmp_path)
    logged = step(model, dataset, 1)
    assert {key for key in logged if key.startswith("loss_")} == {"loss_global", "loss_region", "loss_local"}
    assert 0.3 < logged["effective_sample_size"] < 0.999


@pytest.mark.parametrize("name", ["sgcl", "scrl_sgcl"])
@pytest.mark.parametrize("source", ["shuffled", "gaussian", "uniform"])
def test_controls_by_options_as_the_readme_gives_them(name, source):
    options = {"custom_hooks.1.strength": 0.0, "train_dataloader.dataset.pipeline.1.source": source}
    config = load_config(ROOT / f"configs/{name}_r50_coco.py", options)
    check_config(config)
    assert HOOKS.build(config.custom_hooks[1]).strength == 0
    assert TRANSFORMS.build(config.train_dataloader.dataset.pipeline[1]).source == source
