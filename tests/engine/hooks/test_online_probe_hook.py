"""The online probe: its figures, that training does not notice it, two processes, and folders that do not fit."""
import itertools
import json
import random
import socket
from datetime import timedelta
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import torch.distributed as distributed
import torch.multiprocessing as multiprocessing
from mmengine.logging import MessageHub, MMLogger
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier

from mmsscl.engine.config import load_config
from mmsscl.engine.hooks import OnlineProbeHook
from mmsscl.engine.train import train
from mmsscl.errors import InputError
from mmsscl.registry import MODELS
from tests.sample_runs import NARROW, ROOT, write_pretraining_config

pytestmark = pytest.mark.usefixtures("one_thread")

NUMBERS = itertools.count()
CLASSES = ("blue", "green", "red")
PROBED = 'default_hooks["online_probe"] = dict(type="OnlineProbeHook", train="{0}/train", val="{0}/val", {1})\n'


def write_labelled(root, train=6, val=4, classes=CLASSES):
    """Photos of noise, each class stronger in one channel; of several sizes."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for channel, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                image = generator.integers(0, 200, (40 + index, 56, 3), dtype=np.uint8)
                image[..., channel % 3] //= 2
                image[..., channel % 3] += 60
                cv2.imwrite(str(root / split / name / f"{index}.png"), image)
    return root


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return write_labelled(tmp_path_factory.mktemp("labelled"))


def make_model(**options):
    torch.manual_seed(0)
    norm = {"type": "BN"}
    model = MODELS.build({
        "type": "SCRL",
        "data_preprocessor": {"type": "PairDataPreprocessor"},
        "backbone": {"type": "mmpretrain.ResNet", "depth": 18, "base_channels": 8, "stem_channels": 8},
        "neck": {"type": "RegionNeck", "in_channels": 64, "hidden_channels": 8, "out_channels": 4, "stride": 32,
                 "norm_cfg": norm},
        "head": {"type": "RegionPredictHead", "in_channels": 4, "hidden_channels": 8, "out_channels": 4, "norm_cfg": norm},
        **options,
    })  # fmt: skip
    with torch.no_grad():
        for name, buffer in model.backbone.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
    return model.train()


def fake_runner(model, loop=EpochBasedTrainLoop, max_epochs=4):
    told = []
    return SimpleNamespace(
        model=model, optim_wrapper=OptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1)),
        train_loop=object.__new__(loop), max_epochs=max_epochs, epoch=0, iter=3, told=told,
        logger=MMLogger.get_current_instance(), message_hub=MessageHub(f"probe_{next(NUMBERS)}"),
        visualizer=SimpleNamespace(add_scalars=lambda values, step: told.append((step, values))),
    )  # fmt: skip


def probed(labelled, model=None, **options):
    hook = OnlineProbeHook(str(labelled / "train"), str(labelled / "val"), **{"image_size": 48, "interval": 1} | options)
    runner = fake_runner(model or make_model())
    hook.before_train(runner)
    hook.after_train_epoch(runner)
    return hook, runner


def reference(labelled, model, size, k):
    """The figures by PIL-free means: cv2, numpy and scikit-learn, each photo alone."""
    from mmsscl.evaluation.features import CentreCrops, FeatureSettings

    model.eval()
    found = {}
    for split in ("train", "val"):
        rows, labels = [], []
        for label, name in enumerate(CLASSES):
            for path in sorted((labelled / split / name).iterdir()):
                pixels = CentreCrops([str(path)], FeatureSettings(size))[0][None].float()
                mean, std = (torch.tensor(x).view(3, 1, 1) for x in ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]))
                with torch.no_grad():
                    rows.append(model.backbone((pixels - mean) / std)[-1].mean((2, 3))[0].numpy())
                labels.append(label)
        found[split] = np.stack(rows), np.array(labels)
    (bank, labels), (queries, wanted) = found["train"], found["val"]
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (bank, queries)]
    neighbours = KNeighborsClassifier(
        k, weights=lambda distances: np.exp((1 - distances**2 / 2) / 0.07), algorithm="brute"
    ).fit(unit[0], labels)
    ridge = Ridge(alpha=0.01 * len(bank) * bank.var(0).mean()).fit(bank, np.eye(3)[labels])
    return {
        "knn_top1": 100 * (neighbours.predict(unit[1]) == wanted).mean(),
        "linear_top1": 100 * (ridge.predict(queries).argmax(1) == wanted).mean(),
    }


@pytest.mark.parametrize(("k", "batch_size", "channels_last"), [(3, 4, False), (50, 64, True)])
def test_figures_are_those_of_scikit_learn(labelled, k, batch_size, channels_last):
    model = make_model(channels_last=channels_last)
    _, runner = probed(labelled, model, k=k, batch_size=batch_size)
    ((step, told),) = runner.told
    assert step == 3
    wanted = reference(labelled, model, 48, min(k, 18))
    assert {name: told[name] for name in wanted} == pytest.approx(wanted, abs=1e-4)
    assert told["linear_top1"] > 50, "colours are easy"
    assert told["probe_seconds"] > 0
    for name, value in told.items():
        assert runner.message_hub.get_scalar(f"probe/{name}").current() == value


def test_photos_of_a_class_are_limited_and_always_the_same(labelled):
    hook, _ = probed(labelled, per_class=2)
    assert hook.labels.tolist() == [0, 0, 1, 1, 2, 2] * 2
    again, _ = probed(labelled, per_class=2)
    whole, _ = probed(labelled, per_class=None)
    assert torch.equal(hook._pixels, again._pixels)
    rows = {row.numpy().tobytes() for row in whole._pixels}
    assert {row.numpy().tobytes() for row in hook._pixels} < rows


def test_epochs_are_looked_at_every_interval_and_at_the_end(labelled):
    hook = OnlineProbeHook(str(labelled / "train"), str(labelled / "val"), interval=2, image_size=32)
    runner = fake_runner(make_model(), max_epochs=5)
    hook.before_train(runner)
    seen = []
    hook.probe = lambda runner: seen.append(runner.epoch)
    for epoch in range(5):
        runner.epoch = epoch
        hook.after_train_epoch(runner)
    assert seen == [1, 3, 4]


def test_without_folders_nothing_happens():
    hook = OnlineProbeHook()
    hook.before_train(None)
    hook.after_train_epoch(SimpleNamespace(epoch=9, max_epochs=10))


def test_training_state_is_left_as_it_was(labelled):
    model = make_model()
    model.backbone.bn1.eval()
    modes = [module.training for module in model.modules()]
    assert len(set(modes)) == 2
    state = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(1)
    random.seed(1)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    probed(labelled, model)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_features_that_are_not_finite_are_said_and_not_logged(labelled):
    model = make_model()
    with torch.no_grad():
        model.backbone.conv1.weight.fill_(float("nan"))
    warnings = []
    hook = OnlineProbeHook(str(labelled / "train"), str(labelled / "val"), image_size=32, interval=1)
    runner = fake_runner(model)
    runner.logger = SimpleNamespace(warning=warnings.append, info=lambda text: None)
    hook.before_train(runner)
    hook.after_train_epoch(runner)
    assert warnings == ["online probe: features are not finite, so there is nothing to measure."]
    assert not runner.told


LONG = 'train_cfg["max_epochs"] = 3\ntrain_cfg["type"] = "ResumableEpochLoop"\n'


@pytest.fixture(scope="module")
def runs(tmp_path_factory, labelled):
    """A run without the probe, and one with it."""
    torch.set_num_threads(1)
    found = {}
    for name, more in (("plain", ""), ("probed", PROBED.format(labelled, "interval=2, image_size=64"))):
        folder = tmp_path_factory.mktemp(name)
        file = write_pretraining_config(folder, more=NARROW + LONG + more)
        train(file, work_dir=str(folder / "run"))
        found[name] = file, folder / "run"
    return found


def checkpoint_of(folder, epoch):
    return torch.load(folder / f"epoch_{epoch}.pth", weights_only=False)


def require_equal(one, other):
    assert one["state_dict"].keys() == other["state_dict"].keys()
    for name, value in one["state_dict"].items():
        assert torch.equal(value, other["state_dict"][name]), name
    momenta = [checkpoint["optimizer"]["state"] for checkpoint in (one, other)]
    assert momenta[0].keys() == momenta[1].keys()
    for number, values in momenta[0].items():
        for name, value in values.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(momenta[1][number][name]))
    losses = [checkpoint["message_hub"]["log_scalars"]["train/loss"].data[0].tolist() for checkpoint in (one, other)]
    assert losses[0] == losses[1]


def test_a_run_with_the_probe_ends_bit_equal_to_one_without(runs):
    require_equal(checkpoint_of(runs["plain"][1], 3), checkpoint_of(runs["probed"][1], 3))


def scalars_of(folder):
    lines = [json.loads(line) for file in folder.rglob("scalars.json") for line in file.read_text().splitlines()]
    return [{key: line[key] for key in ("knn_top1", "linear_top1", "step")} for line in lines if "knn_top1" in line]


def test_the_log_and_scalars_json_have_the_figures(runs):
    folder = runs["probed"][1]
    found = scalars_of(folder)
    assert [line["step"] for line in found] == [4, 6], "two iterations an epoch; epoch 2, and the last"
    log = next(folder.rglob("*.log")).read_text()
    assert "online probe: 18 photos of" in log
    for epoch, line in zip((2, 3), found):
        assert f"online probe after epoch {epoch}: knn_top1 {line['knn_top1']:.2f}, linear_top1" in log
    hub = checkpoint_of(folder, 3)["message_hub"]["log_scalars"]
    assert hub["probe/knn_top1"].data[0].tolist() == [line["knn_top1"] for line in found]
    assert not scalars_of(runs["plain"][1])


def test_a_resumed_run_measures_what_the_whole_run_did(runs, tmp_path):
    file, folder = runs["probed"]
    train(file, work_dir=str(tmp_path / "run"), resume=str(folder / "epoch_2.pth"))
    require_equal(checkpoint_of(folder, 3), checkpoint_of(tmp_path / "run", 3))
    assert scalars_of(tmp_path / "run") == scalars_of(folder)[1:]


@pytest.mark.parametrize("path", ["configs/scrl_r50_coco.py", "configs/scenes/sgcl_r18_scenes.py"])
def test_the_pretraining_configs_have_it_switched_off(path, labelled):
    assert load_config(ROOT / path).default_hooks.online_probe == dict(
        type="OnlineProbeHook", train=None, val=None, interval=10
    )
    options = {"default_hooks.online_probe.train": str(labelled), "default_hooks.online_probe.val": str(labelled)}
    assert load_config(ROOT / path, options).default_hooks.online_probe.train == str(labelled)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "a"}, "give both folders"),
        ({"val": "a"}, "give both folders"),
        ({"interval": 0}, "interval=0 must be a whole number"),
        ({"per_class": 0}, "per_class=0 must be"),
        ({"image_size": 12.5}, "image_size=12.5 must be"),
        ({"k": True}, "k=True must be"),
        ({"temperature": 0}, "temperature=0 must be above 0"),
    ],
)
def test_bad_values_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        OnlineProbeHook(**options)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("absent", r"online_probe\.val: .*no such folder"),
        ("empty class", r"online_probe\.val: .*no images in this folder"),
        ("other classes", r"online_probe\.val: .* has other classes than .*only in .*train: red.*only in .*val: pink"),
        ("damaged", r"0\.png.*damaged"),
    ],
)
def test_faults_of_the_folders_are_met_before_training(fault, message, tmp_path):
    root = write_labelled(tmp_path, 2, 2)
    if fault == "absent":
        (root / "val").rename(root / "elsewhere")
    elif fault == "empty class":
        for path in (root / "val/red").iterdir():
            path.unlink()
    elif fault == "other classes":
        (root / "val/red").rename(root / "val/pink")
    else:
        path = root / "val/red/0.png"
        path.write_bytes(path.read_bytes()[:-200])
    hook = OnlineProbeHook(str(root / "train"), str(root / "val"))
    with pytest.raises(InputError, match=message):
        hook.before_train(fake_runner(make_model()))


def test_runs_it_cannot_watch_are_refused(labelled):
    hook = OnlineProbeHook(str(labelled / "train"), str(labelled / "val"))
    with pytest.raises(InputError, match="counts epochs, but train_cfg is a IterBasedTrainLoop"):
        hook.before_train(fake_runner(make_model(), IterBasedTrainLoop))
    with pytest.raises(InputError, match="the model Linear has no backbone"):
        hook.before_train(fake_runner(torch.nn.Linear(2, 2)))
    model = make_model()
    del model.data_preprocessor.mean
    with pytest.raises(InputError, match="no mean and std"):
        hook.before_train(fake_runner(model))


def watch_rank(rank, port, labelled, damaged, out):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2, timeout=timedelta(seconds=120)
    )
    try:
        hook, runner = probed(labelled, k=3)
        try:
            probed(damaged)
            failure = ""
        except InputError as error:
            failure = str(error)
        torch.save({"told": runner.told, "read": len(hook._pixels), "failure": failure}, out / f"{rank}.pth")
    finally:
        distributed.destroy_process_group()


def watch_as_second(_, port, labelled, damaged, out):
    watch_rank(1, port, labelled, damaged, out)


def test_two_processes_share_the_work_and_the_errors(labelled, tmp_path):
    damaged = write_labelled(tmp_path / "damaged", 1, 1)
    # the second photo: rank 1's
    path = damaged / "train/green/0.png"
    path.write_bytes(path.read_bytes()[:-200])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    second = multiprocessing.spawn(watch_as_second, args=(port, labelled, damaged, tmp_path), nprocs=1, join=False)
    try:
        watch_rank(0, port, labelled, damaged, tmp_path)
        second.join()
    finally:
        for process in second.processes:
            process.kill()
    ranks = [torch.load(tmp_path / f"{rank}.pth", weights_only=False) for rank in range(2)]
    _, alone = probed(labelled, k=3)
    assert [rank["read"] for rank in ranks] == [15, 15]
    assert not ranks[1]["told"]
    ((_, shared),), ((_, single),) = ranks[0]["told"], alone.told
    for name in ("knn_top1", "linear_top1"):
        assert shared[name] == single[name]
    assert all("green/0.png" in rank["failure"] for rank in ranks)
    assert "rank 1 stopped and so do all others" in ranks[0]["failure"]
