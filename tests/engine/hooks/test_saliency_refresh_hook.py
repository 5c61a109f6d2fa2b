"""The refresh of saliency maps in a run, its store on resuming, workers that outlive it, two processes."""
import itertools
import os
import random
import socket
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import torch.distributed as distributed
import torch.multiprocessing as multiprocessing
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.logging import MessageHub, MMLogger
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from mmsscl.datasets import EpochIndexSampler, SceneImages
from mmsscl.engine.hooks import SaliencyRefreshHook
from mmsscl.engine.optimizers import BFloat16OptimWrapper
from mmsscl.errors import InputError
from mmsscl.rank_errors import failing_together
from mmsscl.registry import MODELS
from mmsscl.saliency.baseline_maps import gaussian_map
from mmsscl.saliency.estimators import ActivationSaliency, GeodesicSaliency
from mmsscl.saliency.history import append_history, read_history
from mmsscl.saliency.normalise import entropy_trust, normalise_maps
from mmsscl.saliency.refresh import WholeImages, map_figures, refresh_batches
from mmsscl.saliency.store import SaliencyStore
from mmsscl.zoo.safe_load import install_safe_loader

IMAGES, SIZE, STRIDE = 11, 64, 8
NUMBERS = itertools.count()
NORM = {"type": "BN"}


@MODELS.register_module(force=True)
class TinyBackboneOfRefreshTest(nn.Module):
    """Two convolutions with BatchNorm: features of 8 channels at stride 8."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 2, 2), nn.BatchNorm2d(8), nn.ReLU()
        )

    def forward(self, images):
        return (self.layers(images),)


@MODELS.register_module(force=True)
class DrawingEstimatorOfRefreshTest(ActivationSaliency):
    """Draws from every random state there is, as a careless estimator would."""

    def _estimate(self, features, project, positives):
        random.random()
        np.random.rand(3)
        torch.rand(3)
        return super()._estimate(features, project, positives)


class ReportSaliency:
    """Ends a pipeline: what a sample was told, and in which process."""

    def __call__(self, results):
        saliency = results["saliency"]
        return {
            "index": results["sample_idx"], "epoch": results["epoch"], "values": torch.as_tensor(saliency.values.copy()),
            "trust": saliency.trust, "strength": saliency.strength, "process": os.getpid(),
        }  # fmt: skip


def write_images(folder, count=IMAGES, seed=0):
    """Photos of blobs: wide, tall, one tiny, one gray PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for index in range(count):
        height, width = [(96, 64), (50, 120), (5, 7), (80, 80)][index % 4]
        coarse = generator.integers(0, 255, (4, 5, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
        name = f"{index:02}.png" if index == 3 else f"{index:02}.jpg"
        cv2.imwrite(str(folder / name), image[..., 0] if index == 3 else image)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("photos"))


def make_model(seed=0, **options):
    torch.manual_seed(seed)
    model = MODELS.build({
        "type": "SCRL",
        "data_preprocessor": {"type": "PairDataPreprocessor"},
        "backbone": {"type": "TinyBackboneOfRefreshTest"},
        "neck": {"type": "RegionNeck", "in_channels": 8, "hidden_channels": 8, "out_channels": 4, "stride": STRIDE,
                 "norm_cfg": NORM},
        "head": {"type": "RegionPredictHead", "in_channels": 4, "hidden_channels": 8, "out_channels": 4,
                 "norm_cfg": NORM},
        **options,
    })  # fmt: skip
    with torch.no_grad():
        # Statistics that eval mode must use, and a target that is not the online network.
        for buffer in (model.target["backbone"].layers[1], model.target["backbone"].layers[4]):
            buffer.running_mean.uniform_(-0.5, 0.5)
            buffer.running_var.uniform_(0.5, 2.0)
        for param in model.target.parameters():
            param.mul_(1 + 0.3 * torch.randn_like(param))
    return model.train()


def make_hook(**options):
    settings = {"warmup_epochs": 1, "ramp_epochs": 2, "interval": 1, "image_size": SIZE, "map_size": SIZE // STRIDE,
                "batch_size": 4, "num_workers": 0, "estimator": {"type": "ActivationSaliency"}}  # fmt: skip
    return SaliencyRefreshHook(**(settings | options))


def make_dataset(photos, **options):
    steps = [{"type": "LoadSaliency"}, ReportSaliency()]
    return SceneImages(data_root=str(photos), pipeline=steps, **options)


def fake_runner(model, dataset, work_dir, max_epochs=6, loader=None, wrapper=OptimWrapper):
    """What the hook uses of a runner; the loop is a real one's class."""
    loop = object.__new__(EpochBasedTrainLoop)
    return SimpleNamespace(
        model=model, optim_wrapper=wrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1)),
        train_loop=loop, train_dataloader=loader or DataLoader(dataset, batch_size=2), max_epochs=max_epochs,
        epoch=0, iter=0, work_dir=str(work_dir), _load_from=None, logger=MMLogger.get_current_instance(),
        message_hub=MessageHub(f"refresh_{next(NUMBERS)}"),
    )  # fmt: skip


def refreshed(photos, work_dir, model=None, epochs=(1,), **options):
    """A hook after refreshes before the given epochs."""
    hook, model = make_hook(**options), model or make_model()
    runner = fake_runner(model, make_dataset(photos), work_dir)
    hook.before_train(runner)
    for epoch in epochs:
        runner.epoch = epoch
        hook.before_train_epoch(runner)
    return hook, runner


def expected_map(model, path, mirror=True):
    """One image by itself, by cv2, torch and numpy alone."""
    pixels = torch.from_numpy(cv2.imread(str(path))[..., ::-1].copy()).permute(2, 0, 1)[None]
    squashed = functional.interpolate(pixels, size=(SIZE, SIZE), mode="bicubic", antialias=True).float()
    mean, std = (torch.tensor(row).view(3, 1, 1) for row in ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]))
    training = {module: module.training for module in model.modules()}
    model.eval()
    maps = []
    with torch.no_grad():
        for image in ((squashed - mean) / std, ((squashed - mean) / std).flip(-1)):
            maps.append(normalise_maps(model.target["backbone"](image)[0].sum(1)))
    for module, mode in training.items():
        module.training = mode
    return (maps[0] + maps[1].flip(-1))[0] / 2 if mirror else maps[0][0]


@pytest.mark.parametrize(("mirror", "batch_size", "channels_last"), [(True, 4, True), (False, 4, False), (True, 64, False)])
def test_maps_equal_those_of_each_image_alone(tmp_path, photos, mirror, batch_size, channels_last):
    model = make_model(channels_last=channels_last)
    hook, _ = refreshed(photos, tmp_path, model, mirror=mirror, batch_size=batch_size)
    assert (hook.store.version, hook.store.epoch) == (1, 1)
    for index, path in enumerate(sorted(photos.iterdir())):
        values, trust = hook.store.read(index)
        wanted = expected_map(model, path, mirror)
        np.testing.assert_allclose(values, wanted, atol=0.5 / 255 + 1e-5)
        assert trust == pytest.approx(float(entropy_trust(wanted[None])), abs=0.5 / 255 + 1e-4)
    assert np.ptp(hook.store.read_many(range(IMAGES))[0], axis=0).max() > 0.3, "images must differ for this to tell"


def test_second_refresh_averages_with_the_first(tmp_path, photos):
    model = make_model()
    hook, runner = refreshed(photos, tmp_path, model, momentum=0.25)
    first, first_trust = hook.store.read_many(range(IMAGES))
    with torch.no_grad():
        model.target["backbone"].layers[3].weight.neg_()
    runner.epoch = 2
    hook.before_train_epoch(runner)
    maps, trust = hook.store.read_many(range(IMAGES))
    alone = torch.stack([expected_map(model, path) for path in sorted(photos.iterdir())])
    wanted = 0.25 * first + 0.75 * alone.numpy()
    np.testing.assert_allclose(maps, wanted, atol=0.5 / 255 + 1e-5)
    own = entropy_trust(torch.from_numpy(wanted)).numpy()
    mean = 0.25 * first_trust + 0.75 * entropy_trust(alone).numpy()
    np.testing.assert_allclose(trust, np.minimum(own, mean), atol=0.5 / 255 + 1e-4)
    assert (own < mean - 0.02).any()


def test_other_grid_is_the_area_mean(tmp_path, photos):
    fine, _ = refreshed(photos, tmp_path / "fine")
    coarse, _ = refreshed(photos, tmp_path / "coarse", map_size=4)
    blocks = fine.store.read_many(range(IMAGES))[0].reshape(IMAGES, 4, 2, 4, 2).mean((2, 4))
    np.testing.assert_allclose(coarse.store.read_many(range(IMAGES))[0], blocks, atol=1.01 / 255)


def test_training_state_is_left_as_it_was(tmp_path, photos):
    model = make_model()
    model.target["backbone"].layers[1].eval()
    modes = [module.training for module in model.modules()]
    assert len(set(modes)) == 2
    state = {name: value.clone() for name, value in model.state_dict().items()}
    hook = make_hook(estimator={"type": "DrawingEstimatorOfRefreshTest"})
    runner = fake_runner(model, make_dataset(photos), tmp_path)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(1)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    hook.before_train(runner)
    runner.epoch = 1
    hook.before_train_epoch(runner)
    assert hook.store.version == 1
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(param.grad is None for param in model.parameters())


def test_state_is_put_back_after_an_error_too(tmp_path, photos):
    folder = write_images(tmp_path / "photos", 5)
    model = make_model()
    hook = make_hook(estimator={"type": "DrawingEstimatorOfRefreshTest"}, batch_size=1)
    runner = fake_runner(model, make_dataset(folder), tmp_path / "work")
    hook.before_train(runner)
    last = refresh_batches(5, 1, seed=1)[-1][0]
    path = sorted(folder.iterdir())[last]
    path.write_bytes(path.read_bytes()[:-60])
    runner.epoch = 1
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with pytest.raises(InputError, match=f"{path.name}: the .* file is damaged or incomplete.*Fetch it again"):
        hook.before_train_epoch(runner)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training for module in model.modules())
    assert hook.store.version == 0
    assert hook.store.verify()
    hook.num_workers = 2
    with pytest.raises(InputError, match=f"{path.name}: the .* file is damaged or incomplete"):
        hook.before_train_epoch(runner)


def test_contrastive_cam_reads_a_gradient_and_leaves_none(tmp_path, photos):
    model = make_model()
    plain, _ = refreshed(photos, tmp_path / "plain", model)
    hook, _ = refreshed(photos, tmp_path / "cam", model, estimator={"type": "ContrastiveCAM"})
    maps = hook.store.read_many(range(IMAGES))[0]
    assert np.abs(maps - plain.store.read_many(range(IMAGES))[0]).max() > 0.1
    assert all(param.grad is None for param in model.parameters())
    assert not any(param.requires_grad for param in model.target.parameters())


def test_the_default_estimator_is_found_from_another_librarys_runner(tmp_path, photos):
    hook, runner = make_hook(estimator=None), fake_runner(make_model(), make_dataset(photos), tmp_path)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        hook.before_train(runner)
    assert type(hook.estimator) is GeodesicSaliency


def test_the_network_looks_with_the_precision_it_trains_in(tmp_path, photos):
    model = make_model()
    exact, _ = refreshed(photos, tmp_path / "exact", model)
    types = set()
    model.target["backbone"].layers[3].register_forward_hook(lambda module, inputs, output: types.add(output.dtype))
    hook = make_hook()
    runner = fake_runner(model, make_dataset(photos), tmp_path / "bf16", wrapper=BFloat16OptimWrapper)
    hook.before_train(runner)
    runner.epoch = 1
    hook.before_train_epoch(runner)
    assert types == {torch.bfloat16}
    difference = np.abs(hook.store.read_many(range(IMAGES))[0] - exact.store.read_many(range(IMAGES))[0])
    assert 0 < difference.max() < 0.1


def test_compiled_modules_run_as_they_are(tmp_path, photos):
    model = make_model()
    plain, _ = refreshed(photos, tmp_path / "plain", model)
    calls = []
    model.target["backbone"].compile(backend=lambda graph, inputs: calls.append(graph) or graph.forward)
    hook, _ = refreshed(photos, tmp_path / "compiled", model)
    np.testing.assert_array_equal(hook.store.read_many(range(IMAGES))[0], plain.store.read_many(range(IMAGES))[0])
    assert not calls


@pytest.mark.parametrize(("count", "batch_size"), [(11, 4), (12, 4), (3, 8), (1, 8), (5, 1), (1000, 64)])
def test_batches_are_full_and_visit_each_image_once(count, batch_size):
    batches = refresh_batches(count, batch_size, seed=3)
    assert {len(batch) for batch in batches} == {min(count, batch_size)}
    assert all(len(set(batch)) == len(batch) for batch in batches)
    visited = [index for batch in batches for index in batch][:count]
    assert sorted(visited) == list(range(count))
    assert batches == refresh_batches(count, batch_size, seed=3)
    if count > 10:
        assert visited != sorted(visited)
        assert batches != refresh_batches(count, batch_size, seed=4)


def test_figures_against_numpy(tmp_path, photos):
    hook, runner = refreshed(photos, tmp_path)
    maps, trust = hook.store.read_many(range(IMAGES))
    entropies, borders = [], []
    for image in maps.astype(np.float64):
        share = image[image > 0] / image.sum()
        entropies.append(-(share * np.log(share)).sum() / np.log(image.size))
        inner = image[1:-1, 1:-1].sum()
        borders.append(1 - inner / image.sum())
    scalars = {key: value.data[0].tolist() for key, value in runner.message_hub.log_scalars.items()}
    assert scalars["train/saliency_entropy"] == [pytest.approx(np.mean(entropies))]
    assert scalars["train/saliency_border"] == [pytest.approx(np.mean(borders))]
    assert scalars["train/saliency_trust"] == [pytest.approx(trust.mean())]
    (seconds,) = scalars["train/saliency_seconds"]
    hook.after_train_epoch(runner)
    share = runner.message_hub.get_scalar("train/saliency_share").current()
    assert seconds > 0
    assert 0 < share < 1


def test_figures_of_known_maps():
    even = np.full((2, 6, 6), 9, np.uint8)
    assert map_figures(even, np.array([255, 0], np.uint8)) == pytest.approx(
        {"entropy": 1.0, "trust": 0.5, "border": 20 / 36, "centre": 0}
    )
    assert map_figures(0 * even, np.zeros(2, np.uint8)) == pytest.approx(
        {"entropy": 1, "trust": 0, "border": 20 / 36, "centre": 0}
    )
    peak = np.zeros((1, 5, 5), np.uint8)
    peak[0, 2, 2] = 200
    figures = map_figures(peak, np.zeros(1, np.uint8))
    assert figures.pop("centre") == pytest.approx(np.corrcoef(peak[0].ravel(), gaussian_map(5).ravel())[0, 1])
    assert figures == pytest.approx({"entropy": 0, "trust": 0, "border": 0}, abs=1e-9)
    habit = np.stack([np.rint(200 * gaussian_map(9)), 255 - np.rint(200 * gaussian_map(9))]).astype(np.uint8)
    assert map_figures(habit[:1], np.zeros(1, np.uint8))["centre"] == pytest.approx(1, abs=1e-3)
    assert map_figures(habit, np.zeros(2, np.uint8))["centre"] == pytest.approx(0, abs=1e-9)
    single = map_figures(np.zeros((1, 1, 1), np.uint8), np.zeros(1, np.uint8))
    assert single == pytest.approx({"entropy": 1, "trust": 0, "border": 1, "centre": 0})


def test_schedule_is_followed(tmp_path, photos):
    hook = make_hook(warmup_epochs=1, ramp_epochs=2, interval=2)
    runner = fake_runner(make_model(), make_dataset(photos), tmp_path, max_epochs=6)
    hook.before_train(runner)
    seen = []
    for runner.epoch in range(6):
        hook.before_train_epoch(runner)
        seen.append((hook.store.version, hook.store.epoch))
    # Epoch 5 is due by the interval, but is the last.
    assert seen == [(0, -1), (1, 1), (1, 1), (2, 3), (2, 3), (2, 3)]


def test_persistent_workers_see_each_refresh(tmp_path, photos):
    dataset = make_dataset(photos)
    loader = DataLoader(
        dataset, batch_size=3, sampler=EpochIndexSampler(dataset, seed=0, round_up=True), num_workers=2,
        persistent_workers=True,
    )  # fmt: skip
    model, hook = make_model(), make_hook(ramp_epochs=4)
    runner = fake_runner(model, dataset, tmp_path, loader=loader)
    hook.before_train(runner)
    processes, means = [], []
    for runner.epoch in range(4):
        loader.sampler.set_epoch(runner.epoch)
        hook.before_train_epoch(runner)
        stored, trusts = hook.store.read_many(range(IMAGES))
        seen = set()
        for batch in loader:
            for row, index in enumerate(batch["index"].tolist()):
                np.testing.assert_array_equal(batch["values"][row], stored[index])
                assert batch["trust"][row] == pytest.approx(trusts[index])
                seen.add(index)
            assert set(batch["epoch"].tolist()) == {runner.epoch}
            assert set(batch["strength"].tolist()) == {runner.epoch / 4}
            processes.append(set(batch["process"].tolist()))
        assert seen == set(range(IMAGES))
        means.append(float(stored.mean()))
        with torch.no_grad():
            model.target["backbone"].layers[3].weight.neg_()
    workers = set().union(*processes)
    assert len(workers) == 2, "the workers must have lived through all epochs"
    assert os.getpid() not in workers
    assert means[0] == 0
    assert len(set(means)) == 4, "each epoch but the first must have had maps of its own"


def make_run(work_dir, photos, model=None, epochs=5, hook=True, resume=False, **options):
    pipeline = [
        {"type": "LoadSceneImage"},
        *([{"type": "LoadSaliency"}] if hook else []),
        {"type": "SpatialConsistentPair", "size": 32, "views": [{"type": "RandomAreaCrop", "area": (0.5, 1.0)}] * 2,
         "boxes": {"type": "GridBoxes", "num_boxes": 3, "min_size": 4}},
        {"type": "DrawPhotometric", "views": [{"brightness": 0.4, "contrast": 0.4, "jitter_prob": 0.8}] * 2},
        {"type": "PackPair"},
    ]  # fmt: skip
    refresh = {"type": "SaliencyRefreshHook", "warmup_epochs": 1, "ramp_epochs": 3, "interval": 2, "image_size": SIZE,
               "map_size": SIZE // STRIDE, "batch_size": 4, "estimator": {"type": "DrawingEstimatorOfRefreshTest"}}
    install_safe_loader()
    return Runner(
        model=model or make_model(),
        work_dir=str(work_dir),
        train_dataloader={
            "dataset": {"type": "SceneImages", "data_root": str(photos), "pipeline": pipeline},
            "sampler": {"type": "EpochIndexSampler", "seed": 0}, "batch_size": 4, "num_workers": 0, "drop_last": True,
            "collate_fn": {"type": "default_collate"},
        },
        train_cfg={"by_epoch": True, "max_epochs": epochs},
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.01}},
        custom_hooks=[{"type": "MomentumUpdateHook", "momentum": 0.9}, *([refresh | options] if hook else [])],
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1}},
        default_scope="mmsscl",
        experiment_name=f"refresh_run_{next(NUMBERS)}",
        load_from=None if resume in (True, False) else str(resume),
        resume=bool(resume),
        randomness={"seed": 0},
        log_level="WARNING",
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, photos):
    runner = make_run(tmp_path_factory.mktemp("whole") / "work", photos)
    runner.train()
    return runner


def store_of(runner):
    return Path(runner.work_dir) / "saliency_store.bin"


def test_refreshes_change_nothing_in_a_plain_run(tmp_path, photos, whole_run):
    """SCRL's crops ignore saliency: with two refreshes and the ramp it must train bit for bit as without."""
    plain = make_run(tmp_path, photos, hook=False)
    plain.train()
    hooked = whole_run.model.state_dict()
    assert SaliencyStore.open(store_of(whole_run)).version == 2
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, hooked[name]), name
    first = make_model().state_dict()
    assert not torch.equal(first["backbone.layers.0.weight"], hooked["backbone.layers.0.weight"])


@pytest.mark.parametrize(("epochs_done", "same_folder"), [(1, True), (2, False), (3, True), (4, False)])
def test_resumed_run_ends_as_the_whole_one(tmp_path, photos, whole_run, epochs_done, same_folder):
    checkpoint = f"{whole_run.work_dir}/epoch_{epochs_done}.pth"
    wanted = store_of(whole_run).read_bytes()
    if same_folder:
        # A file that a killed run left in a later state than the checkpoint.
        (tmp_path / "saliency_store.bin").write_bytes(wanted)
    resumed = make_run(tmp_path, photos, model=make_model(seed=5), resume=checkpoint)
    resumed.train()
    assert (tmp_path / "saliency_store.bin").read_bytes() == wanted
    state = resumed.model.state_dict()
    for name, value in whole_run.model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_checkpoint_of_each_epoch_holds_its_maps(whole_run):
    versions = []
    for epoch in range(1, 6):
        state = torch.load(f"{whole_run.work_dir}/epoch_{epoch}.pth", weights_only=False)["saliency_store"]
        versions.append((state["version"], state["epoch"]))
        assert state["maps"].shape == (IMAGES, 8, 8)
        assert bool(state["maps"].any()) == (state["version"] > 0)
    assert versions == [(0, -1), (1, 1), (1, 1), (2, 3), (2, 3)]


def test_history_holds_the_maps_of_each_refresh(whole_run):
    history = read_history(Path(whole_run.work_dir) / "saliency_history.npz")
    assert list(history.maps) == [1, 3]
    assert history.indices.tolist() == list(range(IMAGES))
    for epoch in (1, 3):
        state = torch.load(f"{whole_run.work_dir}/epoch_{epoch + 1}.pth", weights_only=False)["saliency_store"]
        assert (state["epoch"], state["fingerprint"]) == (epoch, history.fingerprint)
        np.testing.assert_array_equal(history.maps[epoch], state["maps"])
        np.testing.assert_array_equal(history.trust[epoch], state["trust"])
    assert (history.maps[1] != history.maps[3]).any()


def test_history_of_a_resumed_run_is_the_whole_ones(tmp_path, photos, whole_run):
    whole = read_history(Path(whole_run.work_dir) / "saliency_history.npz")
    file = tmp_path / "saliency_history.npz"
    for epoch, shift in ((1, 0), (3, 9), (4, 9)):
        append_history(file, whole.fingerprint, epoch, whole.maps[1] + np.uint8(shift), whole.trust[1])
    make_run(tmp_path, photos, resume=f"{whole_run.work_dir}/epoch_2.pth").train()
    found = read_history(file)
    assert list(found.maps) == [1, 3]
    for epoch in (1, 3):
        np.testing.assert_array_equal(found.maps[epoch], whole.maps[epoch])
        np.testing.assert_array_equal(found.trust[epoch], whole.trust[epoch])


def test_history_of_a_new_run_begins_anew_and_its_loss_ends_no_run(tmp_path, photos):
    refreshed(photos, tmp_path, epochs=(1, 2))
    assert list(read_history(tmp_path / "saliency_history.npz").maps) == [1, 2]
    refreshed(photos, tmp_path, epochs=(3,))
    assert list(read_history(tmp_path / "saliency_history.npz").maps) == [3]
    (tmp_path / "other" / "saliency_history.npz").mkdir(parents=True)
    hook, _ = refreshed(photos, tmp_path / "other")
    assert hook.store.version == 1
    assert [path.name for path in (tmp_path / "other").glob(".*")] == []


def test_resume_with_another_data_set_is_refused(tmp_path, photos, whole_run):
    checkpoint = f"{whole_run.work_dir}/epoch_3.pth"
    other = write_images(tmp_path / "photos", IMAGES)
    (other / "05.jpg").rename(other / "zz.jpg")
    with pytest.raises(InputError, match=r"epoch_3\.pth: its saliency maps are those of another data set"):
        make_run(tmp_path / "work", other, resume=checkpoint).train()
    assert not (tmp_path / "work" / "saliency_store.bin").exists()
    namesakes = write_images(tmp_path / "namesakes", IMAGES, seed=1)
    assert [path.name for path in sorted(namesakes.iterdir())] == [path.name for path in sorted(photos.iterdir())]
    with pytest.raises(InputError, match=r"epoch_3\.pth: its saliency maps are those of another data set"):
        make_run(tmp_path / "work", namesakes, resume=checkpoint).train()
    same = write_images(tmp_path / "moved" / "there", IMAGES)
    make_run(tmp_path / "work", same, resume=checkpoint).train()


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_resume_with_a_damaged_store_names_file_and_remedy(tmp_path, photos, whole_run, damage):
    data = bytearray(store_of(whole_run).read_bytes())
    if damage == "flipped":
        data[400] ^= 64
    path = tmp_path / "saliency_store.bin"
    path.write_bytes({"truncated": data[:-7], "flipped": data, "empty": b""}[damage])
    run = {"photos": photos, "resume": f"{whole_run.work_dir}/epoch_4.pth"}
    with pytest.raises(InputError, match="damaged or cut short") as error:
        make_run(tmp_path, **run).train()
    assert str(path) in str(error.value)
    path.unlink()
    make_run(tmp_path, **run).train()
    assert SaliencyStore.open(path).verify()


def test_resume_after_a_refresh_that_was_cut_off(tmp_path, photos, whole_run):
    path = tmp_path / "saliency_store.bin"
    path.write_bytes(store_of(whole_run).read_bytes())
    store = SaliencyStore.open(path, writable=True)
    store.write([0], np.zeros((1, 8, 8)), np.zeros(1))
    make_run(tmp_path, photos, resume=f"{whole_run.work_dir}/epoch_4.pth").train()
    assert path.read_bytes() == store_of(whole_run).read_bytes()


def test_resume_with_another_grid_or_a_damaged_state_is_refused(tmp_path, photos, whole_run):
    checkpoint = f"{whole_run.work_dir}/epoch_3.pth"
    with pytest.raises(InputError, match=r"epoch_3\.pth.*map_size=8 in SaliencyRefreshHook"):
        make_run(tmp_path / "a", photos, resume=checkpoint, map_size=7).train()
    state = torch.load(checkpoint, weights_only=False)
    state["saliency_store"]["maps"] = state["saliency_store"]["maps"][:5]
    torch.save(state, tmp_path / "broken.pth")
    with pytest.raises(InputError, match=r"broken\.pth: its saliency_store is damaged"):
        make_run(tmp_path / "b", photos, resume=tmp_path / "broken.pth").train()


def test_checkpoint_without_maps_is_caught_up_at_once(tmp_path, photos, whole_run):
    state = torch.load(f"{whole_run.work_dir}/epoch_2.pth", weights_only=False)
    del state["saliency_store"]
    torch.save(state, tmp_path / "old.pth")
    runner = make_run(tmp_path / "work", photos, resume=tmp_path / "old.pth", epochs=4, interval=100)
    runner.train()
    store = SaliencyStore.open(tmp_path / "work" / "saliency_store.bin")
    assert (store.version, store.epoch) == (1, 2)


def test_load_from_starts_with_an_empty_store(tmp_path, photos, whole_run):
    checkpoint = f"{whole_run.work_dir}/epoch_4.pth"
    runner = make_run(tmp_path, photos, epochs=1)
    runner._load_from, runner._resume = checkpoint, False
    (tmp_path / "saliency_store.bin").write_bytes(b"of another run")
    runner.train()
    assert SaliencyStore.open(tmp_path / "saliency_store.bin").version == 0


def test_a_resume_within_the_refreshed_epoch_does_not_refresh_twice(tmp_path, photos):
    hook, runner = refreshed(photos, tmp_path)
    checkpoint = {}
    hook.before_save_checkpoint(runner, checkpoint)
    again = make_hook()
    again.after_load_checkpoint(runner, checkpoint)
    runner.iter = 3
    again.before_train(runner)
    again.before_train_epoch(runner)
    assert (again.store.version, again.store.epoch) == (1, 1)
    runner.epoch = 2
    again.before_train_epoch(runner)
    assert (again.store.version, again.store.epoch) == (2, 2)


def test_a_new_run_keeps_the_maps_of_the_former_and_says_so(tmp_path, photos, monkeypatch):
    said = []
    monkeypatch.setattr("mmsscl.saliency.run_store.print_log", lambda text, **_: said.append(text))
    path, aside = tmp_path / "saliency_store.bin", tmp_path / "saliency_store.previous.bin"
    hook, runner = refreshed(photos, tmp_path)
    kept, checkpoint = path.read_bytes(), {}
    hook.before_save_checkpoint(runner, checkpoint)

    resumed = make_hook()
    resumed.after_load_checkpoint(runner, checkpoint)
    runner.iter = 3
    resumed.before_train(runner)
    assert (path.read_bytes(), aside.exists(), said) == (kept, False, []), "a resumed run goes on with its own"

    refreshed(photos, tmp_path, epochs=())
    assert aside.read_bytes() == kept
    assert SaliencyStore.open(path).version == 0
    assert len(said) == 1
    assert str(path) in said[0]
    assert aside.name in said[0]
    refreshed(photos, tmp_path, epochs=(1,))
    assert aside.read_bytes() == kept, "an empty store is not worth the place of a full one"
    later = path.read_bytes()
    refreshed(photos, tmp_path, epochs=())
    assert aside.read_bytes() == later
    assert len(said) == 2

    # resumed from a checkpoint without maps: what lies there is not overwritten either
    other = tmp_path / "other"
    refreshed(photos, other)
    third = make_hook()
    runner.work_dir = str(other)
    third.before_train(runner)
    assert SaliencyStore.open(other / aside.name).version == 1


def test_says_that_feature_maps_are_too_small(tmp_path, photos, monkeypatch):
    said = []
    monkeypatch.setattr(MMLogger.get_current_instance(), "warning", said.append)
    options = {"estimator": {"type": "GeodesicSaliency"}, "map_size": 4}
    hook, _ = refreshed(photos, tmp_path / "small", image_size=2 * STRIDE, **options)
    assert hook.store.version == 1
    assert not hook.store.read_many(range(IMAGES))[1].any()
    assert len(said) == 1
    assert "no saliency map is trusted" in said[0]
    assert f"image_size={2 * STRIDE}" in said[0]
    refreshed(photos, tmp_path / "large", image_size=SIZE, **options)
    assert len(said) == 1


def test_warns_where_no_refresh_would_happen(tmp_path, photos, monkeypatch):
    said = []
    monkeypatch.setattr("mmsscl.engine.hooks.saliency_refresh_hook.print_log", lambda text, **_: said.append(text))
    hook = make_hook(warmup_epochs=5)
    hook.before_train(fake_runner(make_model(), make_dataset(photos), tmp_path, max_epochs=6))
    assert len(said) == 1
    assert "warmup_epochs=5" in said[0]
    make_hook(warmup_epochs=4).before_train(fake_runner(make_model(), make_dataset(photos), tmp_path, max_epochs=6))
    assert len(said) == 1


def test_refuses_what_it_cannot_serve(tmp_path, photos):
    def start(hook=None, **changes):
        runner = fake_runner(make_model(), make_dataset(photos), tmp_path)
        for key, value in changes.items():
            setattr(runner, key, value)
        (hook or make_hook()).before_train(runner)

    with pytest.raises(InputError, match="counts epochs, but train_cfg is a IterBasedTrainLoop"):
        start(train_loop=object.__new__(IterBasedTrainLoop))
    with pytest.raises(InputError, match="Linear has no target network"):
        start(model=nn.Linear(1, 1))
    with pytest.raises(InputError, match="LoadSaliency"):
        start(train_dataloader=DataLoader(SceneImages(data_root=str(photos))))
    with pytest.raises(InputError, match="no mean and std"):
        start(model=make_model(data_preprocessor=None))
    with pytest.raises(InputError, match="GlobalNeck' is no SaliencyEstimator"):
        start(make_hook(estimator={"type": "GlobalNeck", "in_channels": 8, "norm_cfg": NORM}))
    wrapped = SimpleNamespace(pipeline=make_dataset(photos).pipeline)
    with pytest.raises(InputError, match=r"is a SimpleNamespace.*does not tell the paths"):
        start(train_dataloader=SimpleNamespace(dataset=wrapped))
    source = {"type": "mmsscl.SceneImages", "data_root": str(photos), "pipeline": [{"type": "LoadSaliency"}]}
    for wrapper in (ConcatDataset([source]), RepeatDataset(source, times=2)):
        assert hasattr(wrapper, "get_data_info")
        with pytest.raises(InputError, match=rf"is a {type(wrapper).__name__}, which hides the pipeline.*sources="):
            start(train_dataloader=DataLoader(wrapper))
    for options in (
        {"image_size": 0}, {"map_size": 0}, {"batch_size": 0}, {"num_workers": -1}, {"momentum": 1.0}, {"momentum": -0.1},
        {"interval": 0}, {"warmup_epochs": -1}, {"image_size": 448.0},
    ):  # fmt: skip
        with pytest.raises(InputError, match=next(iter(options))):
            make_hook(**options)
    assert not (tmp_path / "saliency_store.bin").exists()


def test_one_image_and_large_photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    large = cv2.resize(coarse, (2400, 1200), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(folder / "large.jpg"), large)
    hook, _ = refreshed(folder, tmp_path / "work", estimator={"type": "ContrastiveCAM"})
    assert hook.store.version == 1
    (_, pixels) = WholeImages(SceneImages(data_root=str(folder)), SIZE)[0]
    small = cv2.resize(large, (SIZE, SIZE), interpolation=cv2.INTER_AREA)[..., ::-1].astype(np.float32)
    assert np.abs(pixels.permute(1, 2, 0).numpy() - small).mean() < 6


def watch_reading(photos, work_dir, batch_size):
    """A refresh, and the names of the images that this rank read for it."""
    hook, read = make_hook(batch_size=batch_size), []
    runner = fake_runner(make_model(), make_dataset(photos), work_dir)
    hook.before_train(runner)
    loader = hook.images.loader

    def note_and_load(results):
        read.append(Path(results["img_path"]).name)
        return loader(results)

    hook.images.loader = note_and_load
    runner.epoch = 1
    hook.before_train_epoch(runner)
    return hook, read


def message_of(error_type, action):
    """What it raises, and after how many seconds."""
    start = time.perf_counter()
    with pytest.raises(error_type) as error:
        action()
    return str(error.value), time.perf_counter() - start


def resume_without_maps(photos, work_dir):
    runner = fake_runner(make_model(), make_dataset(photos), work_dir)
    runner.iter = 3
    make_hook().before_train(runner)


def fail_on_first_rank(rank):
    with failing_together():
        if rank == 0:
            raise OSError("no space left")


def watch_failures(rank, photos, folder):
    """Errors that one of two ranks meets; ``folder`` holds what it takes."""
    # The second rank's photos are others; its part of the refresh holds a photo that is cut short.
    own = photos if rank == 0 else folder / "namesakes"
    found = {
        "photo": message_of(InputError, lambda: refreshed(folder / "cut", folder / "work_cut")),
        "data": message_of(InputError, lambda: refreshed(own, folder / "work_data")),
        "blocked": message_of(InputError, lambda: refreshed(photos, folder / "blocked")),
        "damaged": message_of(InputError, lambda: resume_without_maps(photos, folder / "damaged")),
        "other": message_of((OSError, RuntimeError), lambda: fail_on_first_rank(rank)),
    }
    # and the ranks are still in step
    _, found["afterwards"] = watch_reading(photos, folder / "afterwards", 4)
    return found


def watch_two_ranks(rank, port, photos, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2, timeout=timedelta(seconds=120)
    )
    try:
        hook, runner = refreshed(photos, folder / "work", epochs=(0, 1, 2), estimator={"type": "ContrastiveCAM"})
        reader = runner.train_dataloader.dataset
        told = [reader[2, index] for index in range(IMAGES)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket, "gethostname", lambda: ["first", "second"][rank])
            hosted, shared = watch_reading(photos, folder / "hosts", 4)
            failures = watch_failures(rank, photos, folder)
        torch.save(
            {
                "maps": torch.stack([sample["values"] for sample in told]),
                "trust": torch.tensor([sample["trust"] for sample in told]),
                "strength": told[0]["strength"], "version": hook.store.version, "writes": hook.store.writable,
                "entropy": runner.message_hub.get_scalar("train/saliency_entropy").data[0].tolist(),
                "read": shared, "one_batch": watch_reading(photos, folder / "one_batch", 64)[1],
                "file": hosted.store.path.name, "hosted": (hosted.store.version, hosted.store.writable),
                "hosted_maps": torch.from_numpy(hosted.store.read_many(range(IMAGES))[0]), "failures": failures,
            },
            folder / f"{rank}.pth",
        )  # fmt: skip
    finally:
        distributed.destroy_process_group()


def watch_as_second(_, port, photos, folder):
    watch_two_ranks(1, port, photos, folder)


def prepare_failures(folder):
    cut = write_images(folder / "cut")
    path = sorted(cut.iterdir())[refresh_batches(IMAGES, 4, seed=1)[1][0]]
    path.write_bytes(path.read_bytes()[:-60])
    write_images(folder / "namesakes", seed=1)
    (folder / "blocked" / "saliency_store.second.bin").mkdir(parents=True)
    (folder / "damaged").mkdir()
    (folder / "damaged" / "saliency_store.second.bin").write_bytes(b"mmssclSM")
    return path


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory, photos):
    """What two processes saw, and the photo that only the second one is to read."""
    folder = tmp_path_factory.mktemp("ranks")
    cut = prepare_failures(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    threads = torch.get_num_threads()
    # This process is rank 0: starting one, with all its imports, is what takes the time.
    second = multiprocessing.spawn(watch_as_second, args=(port, photos, folder), nprocs=1, join=False)
    try:
        watch_two_ranks(0, port, photos, folder)
        second.join()
    finally:
        torch.set_num_threads(threads)
        for process in second.processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pth", weights_only=False) for rank in range(2)], cut


def test_two_processes_share_the_maps_of_one(tmp_path, photos, two_ranks):
    ranks, _ = two_ranks
    alone, _ = refreshed(photos, tmp_path / "alone", epochs=(0, 1, 2), estimator={"type": "ContrastiveCAM"})
    maps, trust = alone.store.read_many(range(IMAGES))
    for rank in ranks:
        np.testing.assert_allclose(rank["maps"], maps, atol=1.01 / 255)
        np.testing.assert_allclose(rank["trust"], trust, atol=1.01 / 255)
        assert (rank["strength"], rank["version"]) == (1.0, 2)
        assert rank["entropy"] == ranks[0]["entropy"]
    assert torch.equal(ranks[0]["maps"], ranks[1]["maps"])
    assert [rank["writes"] for rank in ranks] == [True, False]
    assert maps.any(axis=(1, 2)).all(), "no image may be left out"


def test_each_of_two_processes_reads_its_share_only(photos, two_ranks):
    ranks, _ = two_ranks
    names = [path.name for path in sorted(photos.iterdir())]
    batches = [[names[index] for index in batch] for batch in refresh_batches(IMAGES, 4, seed=1)]
    assert len(batches) == 3
    # In turn; of the last batch, all that is not new fills it up.
    assert [rank["read"] for rank in ranks] == [batches[0] + batches[2], batches[1]]
    # More ranks than batches: one has nothing to look at.
    assert [sorted(rank["one_batch"]) for rank in ranks] == [names, []]


def test_machines_that_share_a_work_directory_write_a_file_each(two_ranks):
    ranks, _ = two_ranks
    assert [rank["file"] for rank in ranks] == ["saliency_store.bin", "saliency_store.second.bin"]
    assert [rank["hosted"] for rank in ranks] == [(1, True), (1, True)]
    assert torch.equal(ranks[0]["hosted_maps"], ranks[1]["hosted_maps"])
    assert ranks[0]["hosted_maps"].any()


def test_an_error_on_one_rank_stops_all(two_ranks):
    ranks, cut = two_ranks
    first, second = (rank["failures"] for rank in ranks)
    for kind, words in (
        ("photo", f"{cut.name}: the jpeg file is damaged or incomplete"),
        ("data", "the training data set on second is not that on first"),
        ("blocked", "saliency_store.second.bin: the saliency store cannot be written"),
        ("damaged", "saliency_store.second.bin: the saliency store is damaged or cut short"),
    ):
        assert words in second[kind][0]
        assert not second[kind][0].startswith("rank")
        error = "UnreadableImageError" if kind == "photo" else "InputError"
        assert first[kind][0].startswith(f"rank 1 stopped and so do all others: {error}: ")
        assert words in first[kind][0]
    assert first["other"][0] == "no space left"
    assert second["other"][0] == "rank 0 stopped and so do all others: OSError: no space left"
    for kind in ("photo", "data", "blocked", "damaged", "other"):
        assert max(first[kind][1], second[kind][1]) < 30, "nobody may wait for a rank that has stopped"
    assert [rank["failures"]["afterwards"] for rank in ranks] == [rank["read"] for rank in ranks]
