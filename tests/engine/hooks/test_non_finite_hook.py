"""Steps that are not finite change nothing, are explained, and stop the run when they come one after the other."""
import re

import pytest
import torch

from mmsscl.engine.hooks import NonFiniteHook
from mmsscl.engine.train import train
from mmsscl.errors import InputError
from tests.faulty_hooks import PoisonHook, states
from tests.killed_runs import KillableRun
from tests.sample_runs import NARROW, write_pretraining_config

SMALL = NARROW + """
train_dataloader.update(batch_size=2)
train_cfg = dict(type="ResumableEpochLoop", max_epochs=2)
default_hooks["checkpoint"] = dict(type="SafeCheckpointHook", interval=1, step_interval=1)
default_hooks["non_finite"] = dict(type="NonFiniteHook")
custom_imports = dict(imports=["tests.faulty_hooks"])
"""
MOCO = """
model.update(type="SGCL", target_norm="average", neck=dict(
    type="GlobalNeck", in_channels=64, hidden_channels=32, out_channels=16, norm_cfg=norm_cfg))
model["head"] = dict(type="WeightedContrastiveHead", channels=16, queue_size=64)
"""


def write_config(folder, more=""):
    return write_pretraining_config(folder, 10, SMALL + more)


def poison(iterations, what="views", rank=0):
    return f"custom_hooks.append(dict(type='PoisonHook', iterations={list(iterations)}, what={what!r}, rank={rank}))\n"


def hook_of(runner, kind):
    return next(hook for hook in runner.hooks if isinstance(hook, kind))


@pytest.mark.parametrize("what", ["views", "gradient"])
@pytest.mark.parametrize("base", ["", MOCO], ids=["scrl", "moco"])
def test_a_skipped_step_changes_nothing(tmp_path, capfd, what, base):
    runner = train(write_config(tmp_path, base + poison([2, 5], what)), work_dir=str(tmp_path / "run"))
    poisoned = hook_of(runner, PoisonHook)
    for iteration in (2, 5):
        before, after = poisoned.before[iteration], poisoned.after[iteration]
        assert before.keys() == after.keys()
        for name, value in before.items():
            assert torch.equal(value, after[name]), f"{name} in iteration {iteration}"
    assert all(torch.isfinite(value).all() for value in states(runner).values())
    assert not torch.equal(poisoned.after[2]["backbone.conv1.weight"], poisoned.before[5]["backbone.conv1.weight"])
    assert hook_of(runner, NonFiniteHook).skipped == 2
    said = "".join(capfd.readouterr())
    assert "2 optimizer steps were skipped because they were not finite" in said
    line = next(line for line in said.splitlines() if "iteration 5:" in line)
    assert "(1 in a row, 2 in all)" in line
    if what == "views":
        assert "loss is not finite (loss nan); the step is skipped. Its photos: " in line
        assert len(re.findall(r"photos/\d\.jpg", line)) == 2
    else:
        assert re.search(r"gradient is not finite \(loss [\d.]+\); the step is skipped\. \(1 in a row", line)


def test_the_schedule_of_the_target_waits_too(tmp_path):
    runner = train(write_config(tmp_path, poison([3])), work_dir=str(tmp_path / "run"))
    assert len(runner.message_hub.get_scalar("train/momentum_target").data[0]) == 9


def test_the_third_in_a_row_stops_and_the_checkpoint_before_is_good(tmp_path):
    config = write_config(tmp_path, poison([2, 4, 5, 7, 8, 9]))
    with pytest.raises(InputError, match=r"3 optimizer steps in a row are not finite, the last in iteration 9\. The newest "
                       r"checkpoint, \S+iter_8\.pth, is good\. Go on from it with a lower learning rate"):
        train(config, work_dir=str(tmp_path / "run"))
    (saved,) = (tmp_path / "run").glob("iter_*.pth")
    checkpoint = torch.load(saved, weights_only=False)
    assert all(torch.isfinite(value).all() for value in checkpoint["state_dict"].values())
    assert checkpoint["skipped_steps"] == 5
    healthy = tmp_path / "healthy.py"
    healthy.write_text(config.read_text().replace("iterations=[2, 4, 5, 7, 8, 9]", "iterations=[]"))
    runner = train(healthy, work_dir=str(tmp_path / "run"), resume="auto")
    assert runner.iter == 10
    assert hook_of(runner, NonFiniteHook).skipped == 5


@pytest.mark.parametrize("spoilt", [3, 4])
def test_with_accumulation_the_whole_step_is_dropped(tmp_path, spoilt):
    accumulated = "optim_wrapper.update(accumulative_counts=2)\ntrain_dataloader.update(batch_size=1)\n"
    runner = train(write_config(tmp_path, accumulated + poison([3, 4])), work_dir=str(tmp_path / "both"))
    poisoned = hook_of(runner, PoisonHook)
    for name, value in poisoned.before[3].items():
        assert torch.equal(value, poisoned.after[4][name]), name
    one = train(write_config(tmp_path, accumulated + poison([spoilt])), work_dir=str(tmp_path / "one"))
    assert hook_of(one, NonFiniteHook).skipped == hook_of(runner, NonFiniteHook).skipped == 1
    # whichever half was spoilt, the run is that without the step
    for name, value in states(runner).items():
        assert torch.equal(value, states(one)[name]), name


def test_a_healthy_run_is_the_same_without_the_hook(tmp_path):
    config = write_config(tmp_path)
    watched = train(config, work_dir=str(tmp_path / "watched"))
    alone = train(config, work_dir=str(tmp_path / "alone"), options={"default_hooks.non_finite": None})
    for name, value in states(watched).items():
        assert torch.equal(value, states(alone)[name]), name
    assert "step" not in watched.optim_wrapper.__dict__


def test_processes_skip_together(tmp_path):
    config = write_config(tmp_path, poison([2], "views", rank=1))
    run = KillableRun(config, tmp_path / "run", world=2)
    run.finish()
    said = run.output()
    line = next(line for line in said.splitlines() if "iteration 2:" in line)
    assert re.search(r"loss is not finite \(loss [\d.]+, nan\); the step is skipped\. Its photos: ", line)
    assert len(re.findall(r"photos/\d\.jpg", line)) == 2
    state = torch.load(tmp_path / "run" / "epoch_2.pth", weights_only=False)["state_dict"]
    assert all(torch.isfinite(value).all() for value in state.values())


@pytest.mark.parametrize("patience", [0, -1, 1.5, True])
def test_patience_is_checked(patience):
    with pytest.raises(InputError, match=r"patience=.* must be a whole number of steps from 1"):
        NonFiniteHook(patience)
