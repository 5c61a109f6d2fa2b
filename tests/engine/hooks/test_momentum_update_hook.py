import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from mmsscl.engine.hooks import MomentumUpdateHook
from mmsscl.errors import InputError
from mmsscl.models.layers import cosine_momentum


class TinyMomentumModel(BaseModel):
    """A linear online network and its average; records what it was asked to do."""

    def __init__(self):
        super().__init__()
        self.online = nn.Linear(2, 1)
        self.target = nn.Linear(2, 1).requires_grad_(False)
        self.calls = []

    def forward(self, inputs, mode="tensor"):
        return {"loss": self.online(inputs).square().mean()}

    def update_target(self, momentum):
        self.calls.append((momentum, self.online.weight.detach().clone()))


class Rows(torch.utils.data.Dataset):
    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return {"inputs": torch.tensor([index, 1.0])}


def make_runner(tmp_path, rows=7, epochs=1, accumulation=1, model=None, **options):
    return Runner(
        model=model or TinyMomentumModel(),
        work_dir=str(tmp_path),
        train_dataloader={
            "dataset": Rows(rows), "sampler": {"type": "DefaultSampler", "shuffle": False}, "batch_size": 1,
            "num_workers": 0, "collate_fn": {"type": "default_collate"},
        },
        train_cfg={"by_epoch": True, "max_epochs": epochs},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.01}, "accumulative_counts": accumulation},
        custom_hooks=[{"type": "mmsscl.MomentumUpdateHook", "momentum": 0.9}],
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1}},
        default_scope="mmsscl",
        experiment_name=str(tmp_path).replace("/", "_"),
        **options,
    )


def hook_of(runner):
    return next(hook for hook in runner.hooks if isinstance(hook, MomentumUpdateHook))


@pytest.mark.parametrize("accumulation", [1, 3])
def test_steps_with_the_optimizer_and_follows_the_schedule(tmp_path, accumulation):
    runner = make_runner(tmp_path, rows=7, accumulation=accumulation)
    runner.train()
    steps = math.ceil(7 / accumulation)
    calls = runner.model.calls
    assert [momentum for momentum, _ in calls] == [cosine_momentum(t, steps, 0.9) for t in range(steps)]
    weights = [weight for _, weight in calls]
    moved = [not torch.equal(a, b) for a, b in itertools.pairwise(weights)]
    assert all(moved), "called without an optimizer step between"
    assert torch.equal(weights[-1], runner.model.online.weight), "the tail's step must be followed too"
    logged = runner.message_hub.get_scalar("train/momentum_target").data[0]
    assert list(logged) == [momentum for momentum, _ in calls]


def test_lets_go_after_training(tmp_path):
    runner = make_runner(tmp_path, rows=2)
    runner.train()
    calls = len(runner.model.calls)
    runner.model.online.weight.grad = torch.zeros(1, 2)
    runner.optim_wrapper.optimizer.step()
    assert len(runner.model.calls) == calls


def test_resumed_run_continues_the_schedule(tmp_path):
    whole = make_runner(tmp_path / "whole", rows=5, epochs=3, accumulation=2)
    whole.train()
    steps = math.ceil(15 / 2)
    checkpoint = tmp_path / "whole" / "epoch_2.pth"
    resumed = make_runner(
        tmp_path / "resumed", rows=5, epochs=3, accumulation=2, load_from=str(checkpoint), resume=True
    )
    resumed.train()
    done = 10 // 2
    assert [m for m, _ in resumed.model.calls] == [m for m, _ in whole.model.calls[done:]]
    assert hook_of(resumed).steps == steps
    assert torch.equal(resumed.model.online.weight, whole.model.online.weight)


def test_load_from_starts_a_new_schedule_and_old_checkpoints_fall_back(tmp_path):
    make_runner(tmp_path / "first", rows=4, epochs=2).train()
    path = tmp_path / "first" / "epoch_1.pth"
    state = torch.load(path, weights_only=False)
    assert state["momentum_update"] == {"steps": 4}

    loaded = make_runner(tmp_path / "loaded", rows=4, epochs=1, load_from=str(path))
    loaded.train()
    assert loaded.model.calls[0][0] == pytest.approx(0.9)

    del state["momentum_update"]
    torch.save(state, path)
    old = make_runner(tmp_path / "old", rows=4, epochs=2, load_from=str(path), resume=True)
    old.train()
    assert [m for m, _ in old.model.calls] == [cosine_momentum(t, 8, 0.9) for t in range(4, 8)]


def fake_runner(model, optim_wrapper, max_iters=10):
    scalars = []
    hub = SimpleNamespace(update_scalar=lambda key, value: scalars.append((key, value)))
    return SimpleNamespace(
        model=model, optim_wrapper=optim_wrapper, max_iters=max_iters, iter=0, message_hub=hub, scalars=scalars
    )


def test_a_step_that_the_scaler_skips_moves_nothing():
    model = TinyMomentumModel()
    optimizer = torch.optim.SGD(model.online.parameters(), lr=0.1)
    runner = fake_runner(model, OptimWrapper(optimizer))
    hook = MomentumUpdateHook(0.9)
    hook.before_train(runner)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    for factor in (1.0, float("inf"), 1.0):
        optimizer.zero_grad()
        scaler.scale(model(torch.ones(1, 2))["loss"] * factor).backward()
        scaler.step(optimizer)
        scaler.update()
    assert len(model.calls) == hook.steps == 2
    assert runner.scalars == [("train/momentum_target", cosine_momentum(t, 10, 0.9)) for t in range(2)]
    assert all(type(value) is float for _, value in runner.scalars)


def test_works_through_a_model_wrapper_and_attaches_once():
    from mmengine.registry import MODEL_WRAPPERS

    @MODEL_WRAPPERS.register_module(force=True)
    class WrapperOfMomentumTest(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    model = TinyMomentumModel()
    optimizer = torch.optim.SGD(model.online.parameters(), lr=0.1)
    hook = MomentumUpdateHook(0.9)
    runner = fake_runner(WrapperOfMomentumTest(model), OptimWrapper(optimizer))
    hook.before_train(runner)
    hook.before_train(runner)
    model(torch.ones(1, 2))["loss"].backward()
    optimizer.step()
    assert len(model.calls) == 1


def test_refuses_what_it_cannot_serve():
    with pytest.raises(InputError, match="base"):
        MomentumUpdateHook(1.2)
    model = nn.Linear(1, 1)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(InputError, match="Linear has no target"):
        MomentumUpdateHook().before_train(fake_runner(model, wrapper))
    with pytest.raises(InputError, match="one optimizer"):
        MomentumUpdateHook().before_train(fake_runner(TinyMomentumModel(), {"a": wrapper}))
