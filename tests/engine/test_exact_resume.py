"""A run that is killed at any moment and resumed ends as one that nothing stopped, to the bit."""
import json
import os
import random
import re
import signal
import time
from typing import ClassVar

import numpy as np
import pytest
import torch

from mmsscl.datasets import EpochIndexSampler
from mmsscl.engine.checkpoints.find_checkpoint import newest_checkpoint
from mmsscl.engine.loops.resumable_epoch_loop import remaining_batches
from tests.faulty_hooks import MOMENTS
from tests.killed_runs import KillableRun
from tests.sample_runs import GUIDED, NARROW, write_pretraining_config

# 4 epochs of 5 iterations; the step draws random numbers of its own.
SMALL = NARROW + """
train_dataloader.update(batch_size=2, num_workers=2, persistent_workers=True)
train_cfg = dict(type="ResumableEpochLoop", max_epochs=4)
param_scheduler = [dict(type="CosineAnnealingLR", T_max=20, by_epoch=False)]
default_hooks["preemption"] = dict(type="PreemptionHook", check_interval=3)
default_hooks["checkpoint"] = dict(type="SafeCheckpointHook", interval=1, max_keep_ckpts=2, step_interval=2)
log_processor = dict(window_size=3)
custom_hooks.append(dict(type="NoisyWeightHook"))
custom_imports = dict(imports=["tests.faulty_hooks"])
"""
ACCUMULATED = """
optim_wrapper.update(accumulative_counts=2)
train_dataloader.update(batch_size=1, num_workers=0, persistent_workers=False)
"""
VARIANTS = {"accumulated": SMALL + ACCUMULATED, "guided": SMALL + GUIDED}


def whole_run(folder, variant):
    """A config in the folder, and where a run of it is that nothing stopped."""
    config = write_pretraining_config(folder, 10, VARIANTS[variant])
    began = time.monotonic()
    KillableRun(config, folder / "whole").finish()
    (folder / "seconds").write_text(str(time.monotonic() - began))
    return config, folder / "whole"


@pytest.fixture(scope="module")
def guided(tmp_path_factory):
    return whole_run(tmp_path_factory.mktemp("guided"), "guided")


@pytest.fixture(scope="module")
def accumulated(tmp_path_factory):
    return whole_run(tmp_path_factory.mktemp("accumulated"), "accumulated")


def everything(work_dir):
    """What a run's last checkpoint holds, but for times and paths."""
    checkpoint = torch.load(work_dir / "epoch_4.pth", weights_only=False)
    assert checkpoint["meta"]["epoch"] == 4
    hub = checkpoint.pop("message_hub")
    scalars = {
        name: [float(value) for value in history._log_history]
        for name, history in hub["log_scalars"].items()
        if not name.endswith(("time", "seconds", "share"))
    }
    kept = {name: value for name, value in checkpoint.items() if name not in ("meta",)}
    return kept, scalars


def logged(work_dir):
    """Losses by iteration, as the log files of all parts of the run have them; the last word counts."""
    found = {}
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            if "loss" in row:
                found[row["step"]] = {key: row[key] for key in row if not key.endswith(("time", "seconds", "share"))}
    return found


def assert_equal(one, other, name=""):
    assert type(one) is type(other), name
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), name
    elif isinstance(one, np.ndarray):
        assert np.array_equal(one, other), name
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), name
        for key in one:
            assert_equal(one[key], other[key], f"{name}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), name
        for position, (left, right) in enumerate(zip(one, other)):
            assert_equal(left, right, f"{name}[{position}]")
    else:
        assert one == other, name


def assert_as_whole(work_dir, whole):
    (kept, scalars), (kept_whole, scalars_whole) = everything(work_dir), everything(whole)
    assert_equal(kept, kept_whole)
    assert scalars == scalars_whole
    assert logged(work_dir) == logged(whole)
    assert sorted(file.name for file in work_dir.glob("*.pth")) == ["epoch_3.pth", "epoch_4.pth"]
    assert not list(work_dir.glob(".*"))
    store = work_dir / "saliency_store.bin"
    if (whole / store.name).exists():
        assert store.read_bytes() == (whole / store.name).read_bytes()


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_killed_at_random_moments(request, tmp_path, variant):
    """``MMSSCL_KILLS=100 python -m pytest -rP ... -k random_moments`` for a long look."""
    config, whole = request.getfixturevalue(variant)
    seconds = float((whole.parent / "seconds").read_text())
    dice = random.Random(variant)
    run = KillableRun(config, tmp_path / "killed")
    kills, tries = 0, int(os.environ.get("MMSSCL_KILLS", "3"))
    for _ in range(tries):
        if newest_checkpoint(run.work_dir) == run.work_dir / "epoch_4.pth":
            # killed to the end: once more from the start
            assert_as_whole(run.work_dir, whole)
            run = KillableRun(config, tmp_path / f"killed_{kills}")
        kills += run.kill_after(dice.uniform(0.05, 0.8) * seconds)
    run.finish()
    assert kills >= 1, run.output()[-2000:]
    assert_as_whole(run.work_dir, whole)
    print(f"{variant}: killed at {kills} of {tries} random moments (else it had ended before)")  # noqa: T201


@pytest.mark.parametrize("moment", sorted(MOMENTS))
def test_killed_at_a_bad_moment(guided, tmp_path, moment):
    config, whole = guided
    sign = tmp_path / "sign"
    paused = tmp_path / "paused.py"
    # of all files that are renamed the maps' first is the first, a checkpoint and its last_checkpoint follow
    after = 4 if moment == "before the new file has its name" else 2
    hook = {"type": "PauseHook", "moment": moment, "sign": str(sign), "after": after}
    paused.write_text(config.read_text(encoding="utf-8") + f"custom_hooks.append({hook!r})\n", encoding="utf-8")
    run = KillableRun(paused, tmp_path / "killed")
    assert run.signal_when(sign.exists) == [-signal.SIGKILL], run.output()[-2000:]
    assert list(run.work_dir.glob("*.pth"))
    rest = KillableRun(config, run.work_dir)
    rest.finish()
    assert_as_whole(run.work_dir, whole)


def reached(run, iteration, epoch_length=5):
    """Whether the run has logged an iteration."""
    epoch, position = divmod(iteration - 1, epoch_length)
    said = re.compile(rf"Epoch\(train\)\s+\[{epoch + 1}\]\[\s*{position + 1}/{epoch_length}\]")
    return lambda: said.search(run.output())


# 8: within the second epoch; 10: its last iteration; to the process alone, or to its workers as well
@pytest.mark.parametrize(
    ("number", "iteration", "group"),
    [(signal.SIGTERM, 8, False), (signal.SIGUSR1, 8, True), (signal.SIGTERM, 10, True)],
)
def test_told_to_stop_saves_leaves_and_goes_on(guided, tmp_path, number, iteration, group):
    config, whole = guided
    run = KillableRun(config, tmp_path / "told")
    assert run.signal_when(reached(run, iteration), number, group=group) == [75], run.output()[-3000:]
    said = run.output()
    saved = newest_checkpoint(run.work_dir)
    assert f"{number.name}: saved {saved} and leaving with exit code 75. Go on with --resume." in said
    assert "Traceback" not in said
    assert torch.load(saved, weights_only=False)["meta"]["iter"] >= iteration
    run.finish()
    assert_as_whole(run.work_dir, whole)


@pytest.mark.parametrize(
    ("variables", "exit_code", "asked", "said"),
    [
        ({"SLURM_JOB_ID": "77"}, 0, "", ""),
        ({"SLURM_JOB_ID": "77", "MMSSCL_REQUEUE": "1"}, 0, "requeue 77\n", "job 77 is back in the queue"),
        (
            {"SLURM_JOB_ID": "81", "SLURM_ARRAY_JOB_ID": "80", "SLURM_ARRAY_TASK_ID": "1", "MMSSCL_REQUEUE": "1"},
            1,
            "requeue 80_1\n",
            "scontrol requeue 80_1: not allowed. Submit the job again: it resumes.",
        ),
    ],
)
def test_a_job_of_slurm_goes_back_into_the_queue(accumulated, tmp_path, variables, exit_code, asked, said):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\necho not allowed >&2\nexit {exit_code}\n')
    scontrol.chmod(0o755)
    environment = variables | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    run = KillableRun(accumulated[0], tmp_path / "told", environment=environment)
    assert run.signal_when(reached(run, 2, 10), signal.SIGUSR1) == [75], run.output()[-3000:]
    assert (asked == "") == (not (tmp_path / "asked").exists())
    if asked:
        assert (tmp_path / "asked").read_text() == asked
    assert said in run.output()


def test_a_loop_without_places_within_epochs_stops_between_them(guided, tmp_path):
    config, _ = guided
    plain = tmp_path / "plain.py"
    changed = "train_cfg.update(type='EpochBasedTrainLoop')\ndefault_hooks['checkpoint'].update(step_interval=0)\n"
    plain.write_text(config.read_text(encoding="utf-8") + changed, encoding="utf-8")
    run = KillableRun(plain, tmp_path / "told")
    assert run.signal_when(reached(run, 7), signal.SIGTERM) == [75], run.output()[-3000:]
    assert newest_checkpoint(run.work_dir) == run.work_dir / "epoch_2.pth"
    run.finish()


def test_accumulated_gradients_are_not_lost(accumulated, tmp_path):
    config, whole = accumulated
    run = KillableRun(config, tmp_path / "told")
    assert run.signal_when(lambda: (run.work_dir / "iter_6.pth").exists(), signal.SIGTERM) == [75], run.output()[-3000:]
    assert torch.load(newest_checkpoint(run.work_dir), weights_only=False)["meta"]["iter"] % 2 == 0
    run.finish()
    assert_as_whole(run.work_dir, whole)


# two processes are started three times
@pytest.mark.slow
def test_one_of_two_processes_told_to_stop_takes_the_other_along(tmp_path):
    no_workers = "train_dataloader.update(num_workers=0, persistent_workers=False)\n"
    config = write_pretraining_config(tmp_path, 20, SMALL + no_workers)
    whole = KillableRun(config, tmp_path / "whole", world=2)
    whole.finish()
    run = KillableRun(config, tmp_path / "told", world=2)
    assert run.signal_when(reached(run, 7), signal.SIGTERM, rank=1) == [75, 75], run.output()[-3000:]
    assert "another process's signal: saved" in run.output()
    run.finish()
    assert_as_whole(run.work_dir, whole.work_dir)


def test_a_full_disk_costs_time_only(accumulated, small_disk):
    config, whole = accumulated
    # room for the two checkpoints that are kept and half of the one that is written before the oldest goes
    disk = small_disk(int(2.5 * (whole / "epoch_4.pth").stat().st_size))
    run = KillableRun(config, disk / "run")
    run.log = disk.parent / "run.log"
    assert run.wait(run.start()) == [1]
    said = run.output()
    assert "No space left on device" in said
    assert "InputError" in said.splitlines()[-1]
    assert "--resume" in said.splitlines()[-1] or "Make room" in said.splitlines()[-1]
    last = newest_checkpoint(run.work_dir)
    assert last is not None
    assert not list(run.work_dir.glob(".*.part"))
    small_disk(20 * (whole / "epoch_4.pth").stat().st_size)
    run.finish()
    assert f"resuming from {last}" in run.output()
    assert_as_whole(run.work_dir, whole)


def test_what_is_skipped_is_not_read(guided, tmp_path):
    """A photo that was trained on may be gone when the run goes on within the epoch."""
    _, whole = guided
    checkpoint = torch.load(whole / "epoch_3.pth", weights_only=False)
    assert checkpoint["position"] == {
        "iters_in_epoch": 0, "iters_per_epoch": 5, "within_epoch": None, "superseded": ["iter_14.pth", "epoch_1.pth"]
    }  # fmt: skip
    sampler = EpochIndexSampler(range(10), seed=0, batch_size=2)
    loader = torch.utils.data.DataLoader(Recorder(), batch_size=2, sampler=sampler)
    assert [batch.tolist() for batch in remaining_batches(loader, 3)] == [batch.tolist() for batch in loader][3:]
    Recorder.read.clear()
    list(remaining_batches(loader, 3))
    assert Recorder.read == [index for _, index in list(sampler)[6:]]


class Recorder(torch.utils.data.Dataset):
    read: ClassVar[list] = []

    def __len__(self):
        return 10

    def __getitem__(self, key):
        self.read.append(key[1])
        return key[1]
