"""What a checkpoint keeps for an exact resume, which files stay, and what is refused. Killed runs: test_exact_resume.py."""
import errno
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mmsscl.engine.hooks import PreemptionHook, SafeCheckpointHook
from mmsscl.engine.train import train
from mmsscl.errors import InputError
from tests.sample_runs import NARROW, write_pretraining_config

SMALL = NARROW + """
train_dataloader.update(batch_size=2)
train_cfg = dict(type="ResumableEpochLoop", max_epochs=2)
default_hooks["checkpoint"] = dict(type="SafeCheckpointHook", interval=1, max_keep_ckpts=1, step_interval=3)
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_pretraining_config(tmp_path_factory.mktemp("safe"), 10, SMALL)


@pytest.fixture(scope="module")
def within(config, tmp_path_factory):
    """A checkpoint saved after 3 of 5 iterations of the second epoch."""
    folder = tmp_path_factory.mktemp("within")
    runner = train(config, work_dir=str(folder), options={"default_hooks.checkpoint.step_interval": 4})
    assert sorted(file.name for file in folder.glob("*.pth")) == ["epoch_2.pth"]
    hook = next(hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook))
    runner.train_loop._epoch, runner.train_loop._iter = 1, 7
    hook.save_within_epoch(runner, 2)
    shutil.move(folder / "iter_8.pth", folder / "kept.pth")
    return folder / "kept.pth"


def names(folder):
    return sorted(file.name for file in folder.iterdir() if file.is_file() and file.suffix == ".pth")


def test_saves_within_epochs_and_keeps_the_newest(config, tmp_path, monkeypatch):
    seen = []
    original = SafeCheckpointHook._save

    def save(self, runner, path, *args):
        original(self, runner, path, *args)
        seen.append(names(tmp_path))
        assert (tmp_path / "last_checkpoint").read_text() == path

    monkeypatch.setattr(SafeCheckpointHook, "_save", save)
    options = {"train_cfg.max_epochs": 3, "default_hooks.checkpoint.step_interval": 2}
    train(config, work_dir=str(tmp_path), options=options)
    # 15 iterations; the fifth and tenth belong to their epochs' own checkpoints
    assert seen == [
        ["iter_2.pth"], ["iter_4.pth"], ["epoch_1.pth"],
        ["epoch_1.pth", "iter_6.pth"], ["epoch_1.pth", "iter_8.pth"], ["epoch_2.pth"],
        ["epoch_2.pth", "iter_12.pth"], ["epoch_2.pth", "iter_14.pth"], ["epoch_3.pth"],
    ]  # fmt: skip


def test_position_and_states_are_in_the_checkpoint(within):
    checkpoint = torch.load(within, weights_only=False)
    assert checkpoint["position"] == {
        "iters_in_epoch": 3, "iters_per_epoch": 5, "within_epoch": "iter_8.pth", "superseded": []
    }  # fmt: skip
    assert checkpoint["meta"]["epoch"] == 1
    assert checkpoint["meta"]["iter"] == 8
    (states,) = checkpoint["random_states"]
    assert set(states) == {"python", "numpy", "cpu", "cuda"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_dataloader.batch_size": 1}, r"after 3 of 5 iterations of an epoch; an epoch has 10 now.*epoch_N\.pth"),
        ({"train_cfg.type": "EpochBasedTrainLoop", "default_hooks.checkpoint.step_interval": 0},
         r"after 3 iterations of an epoch, where a EpochBasedTrainLoop cannot go on.*ResumableEpochLoop"),
    ],
)  # fmt: skip
def test_a_place_within_an_epoch_must_exist(config, within, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        train(config, work_dir=str(tmp_path), resume=str(within), options=options)


def test_resuming_elsewhere_deletes_nothing_there(config, within, tmp_path):
    checkpoint = torch.load(within, weights_only=False)
    checkpoint["position"]["superseded"] = ["epoch_1.pth"]
    torch.save(checkpoint, tmp_path / "other.pth")
    run = tmp_path / "run"
    run.mkdir()
    for name in ("epoch_1.pth", "iter_8.pth"):
        (run / name).write_bytes(b"of another run")
    runner = train(config, work_dir=str(run), resume=str(tmp_path / "other.pth"))
    assert runner.iter == 10
    assert names(run) == ["epoch_1.pth", "epoch_2.pth", "iter_8.pth"]


def test_an_unsaved_checkpoint_stops_only_the_end_of_a_run(config, tmp_path, monkeypatch, capfd):
    tried = []

    def full(self, obj, filepath):
        tried.append(filepath)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mmsscl.engine.checkpoints.atomic_backend.AtomicLocalBackend.put", full)
    with pytest.raises(InputError, match=r"epoch_2\.pth: cannot be written \(No space left on device\)\. Make room"):
        train(config, work_dir=str(tmp_path))
    files = [str(file).rsplit("/", 1)[1] for file in tried]
    assert files == ["iter_3.pth", "epoch_1.pth", "iter_6.pth", "iter_9.pth", "epoch_2.pth"]
    assert "Training goes on and tries again at the next save" in "".join(capfd.readouterr())
    assert names(tmp_path) == []


def test_resume_without_a_checkpoint_starts_anew_from_the_configs_weights(config, within, tmp_path, capfd):
    train(config, work_dir=str(tmp_path), resume="auto", options={"load_from": str(within), "train_cfg.max_epochs": 1})
    said = "".join(capfd.readouterr())
    assert f"{tmp_path} has no checkpoint yet, so the run starts anew" in said
    assert f"Load checkpoint from {within}" in said
    assert torch.load(tmp_path / "epoch_1.pth", weights_only=False)["meta"]["iter"] == 5


def test_weights_are_no_run_to_resume(config, tmp_path):
    torch.save({"state_dict": {"weight": torch.ones(3)}}, tmp_path / "backbone.pth")
    with pytest.raises(InputError, match=r"backbone\.pth: holds weights, but not the state of a run.*load_from"):
        train(config, work_dir=str(tmp_path / "run"), resume=str(tmp_path / "backbone.pth"))


@pytest.mark.parametrize("value", [-1, 1.5, True, "2"])
def test_step_interval_is_a_whole_number(value):
    with pytest.raises(InputError, match=r"step_interval=.* must be a whole number from 0"):
        SafeCheckpointHook(step_interval=value)


def test_step_interval_needs_epochs_that_can_be_gone_on_with(config, tmp_path):
    with pytest.raises(InputError, match="leave step_interval out"):
        SafeCheckpointHook(by_epoch=False, step_interval=2)
    with pytest.raises(InputError, match=r"step_interval=3 saves within epochs.*ResumableEpochLoop"):
        train(config, work_dir=str(tmp_path), options={"train_cfg.type": "EpochBasedTrainLoop"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"check_interval": 0}, "check_interval=0 must be a whole number from 1"),
        ({"check_interval": True}, "check_interval=True"),
        ({"signals": ("SIGTERM", "SIGNOPE")}, "signals has 'SIGNOPE'"),
    ],
)
def test_the_preemption_hook_checks_its_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        PreemptionHook(**arguments)


def test_the_preemption_hook_needs_one_that_saves(config, tmp_path):
    options = {
        "default_hooks.checkpoint": {"type": "CheckpointHook", "_delete_": True},
        "default_hooks.preemption": {"type": "PreemptionHook"},
    }
    with pytest.raises(InputError, match=r"PreemptionHook: needs a hook that can save.*SafeCheckpointHook"):
        train(config, work_dir=str(tmp_path), options=options)


def test_a_run_in_another_thread_hears_no_signals(config, tmp_path, capfd):
    options = {"default_hooks.preemption": {"type": "PreemptionHook"}, "train_cfg.max_epochs": 1}
    before = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as pool:
        runner = pool.submit(train, config, work_dir=str(tmp_path), options=options).result()
    assert runner.iter == 5
    assert "this run hears none" in "".join(capfd.readouterr())
    assert signal.getsignal(signal.SIGTERM) is before
