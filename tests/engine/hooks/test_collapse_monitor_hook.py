"""``CollapseMonitorHook`` warns when logged figures are unhealthy, once, and reads nothing from the device."""
import itertools
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from mmsscl.engine.hooks import CollapseMonitorHook, DeferredRuntimeInfoHook
from mmsscl.engine.hooks.collapse_monitor_hook import SYMPTOMS
from mmsscl.errors import InputError
from mmsscl.registry import HOOKS
from tests.killed_runs import KillableRun
from tests.sample_runs import NARROW, write_pretraining_config

NUMBERS = itertools.count()
HEALTHY = dict(
    projection_std=0.85, positive_cosine=0.8, effective_sample_size=0.8, saliency_trust=0.4, saliency_border=0.3,
    saliency_centre=0.8,
)
UNHEALTHY = dict(
    projection_std=0.1, positive_cosine=0.995, effective_sample_size=0.1, saliency_trust=0.01, saliency_border=0.8,
    saliency_centre=0.99,
    loss=float("nan"),
)  # fmt: skip
REMEDIES = dict(
    projection_std="predictor", positive_cosine="crop area", effective_sample_size="weight_clip",
    saliency_trust="warmup_epochs", saliency_border="estimator", saliency_centre="photographer", loss="diverged",
)  # fmt: skip


class StubRunner:
    """A message hub of its own, and a logger that keeps what it is told."""

    def __init__(self, iteration: int = 10_000) -> None:
        self.message_hub = MessageHub.get_instance(f"collapse_monitor_{next(NUMBERS)}")
        self.iter = iteration
        self.train_dataloader = range(100)
        self.warnings: list[str] = []
        self.logger = SimpleNamespace(warning=self.warnings.append)

    def log(self, **figures: float) -> None:
        for name, value in figures.items():
            self.message_hub.update_scalar(f"train/{name}", value)


@pytest.mark.parametrize("figure", list(UNHEALTHY))
def test_each_unhealthy_figure_is_named_with_a_remedy(figure: str) -> None:
    runner = StubRunner()
    runner.log(**HEALTHY | {"loss": 1.0} | {figure: UNHEALTHY[figure]})
    CollapseMonitorHook().look(runner)
    assert len(runner.warnings) == 1
    assert runner.warnings[0].startswith(f"{figure}: ")
    assert REMEDIES[figure] in runner.warnings[0]


def test_healthy_figures_give_no_warning() -> None:
    runner = StubRunner()
    runner.log(**HEALTHY, loss=2.0, region_projection_std=0.9, lr=0.0)
    CollapseMonitorHook().look(runner)
    assert runner.warnings == []
    assert {symptom.figure for symptom in SYMPTOMS} == set(HEALTHY)


def test_figures_of_every_head_are_watched_and_validation_is_not() -> None:
    runner = StubRunner()
    runner.log(projection_std=0.9, region_projection_std=0.05, local_positive_cosine=0.999)
    runner.message_hub.update_scalar("val/projection_std", 0.0)
    CollapseMonitorHook().look(runner)
    assert [text.split(":")[0] for text in runner.warnings] == ["region_projection_std", "local_positive_cosine"]


def test_training_figures_are_averaged_and_those_of_a_refresh_are_not() -> None:
    runner = StubRunner()
    for value in (0.0, 0.0, 0.5, 0.5):
        runner.log(projection_std=value, saliency_trust=value)
    CollapseMonitorHook(window=2).look(runner)
    assert runner.warnings == []
    CollapseMonitorHook(window=4, least_std=0.3).look(runner)
    assert len(runner.warnings) == 1
    runner.log(saliency_trust=0.01)
    CollapseMonitorHook(window=2).look(runner)
    assert runner.warnings[1].startswith("saliency_trust")


def test_a_warning_comes_again_after_the_pause_only() -> None:
    runner = StubRunner(iteration=1000)
    hook = CollapseMonitorHook(repeat=300)
    runner.log(projection_std=0.0, positive_cosine=0.999)
    for runner.iter in range(1000, 2000, 50):
        hook.look(runner)
    # at 1000, 1300, 1600, 1900; each of the two on its own
    assert len(runner.warnings) == 8
    assert sum("projection_std:" in text for text in runner.warnings) == 4
    hook.before_train(runner)
    hook.look(runner)
    assert len(runner.warnings) == 10


def test_a_refresh_is_judged_once() -> None:
    runner = StubRunner(iteration=0)
    hook = CollapseMonitorHook()
    for start in (0, 10_000):
        runner.log(saliency_trust=0.0)
        for runner.iter in range(start, start + 10_000, 1000):
            hook.look(runner)
    assert len(runner.warnings) == 2


def test_an_untrained_network_is_not_judged() -> None:
    runner = StubRunner(iteration=498)
    hook = CollapseMonitorHook(begin=500)
    runner.log(projection_std=0.0)
    hook.look(runner)
    assert runner.warnings == []
    runner.iter = 499
    hook.look(runner)
    assert len(runner.warnings) == 1


def test_it_looks_when_the_logger_prints_and_at_the_end_of_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    hook, looked = CollapseMonitorHook(interval=30), []
    monkeypatch.setattr(hook, "look", lambda runner: looked.append(index))
    for index in range(100):
        hook.after_train_iter(StubRunner(), index)
    assert looked == [29, 59, 89, 99]


class CollapsingModel(BaseModel):
    """Logs a projection_std that falls below the limit after a few steps."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(2, 1)
        self.step = 0

    def forward(self, inputs, mode="tensor"):
        return {"loss": self.line(inputs).square().mean()}

    def train_step(self, data, optim_wrapper):
        log = super().train_step(data, optim_wrapper)
        self.step += 1
        log["projection_std"] = torch.tensor(0.9 if self.step < 4 else 0.0)
        return log


def test_in_a_run_it_reads_what_was_just_handed_over(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five iterations, printed every second: step 4 collapses and is seen in step 4; tensors are read in flushes only."""
    rows = torch.utils.data.TensorDataset(torch.randn(5, 2))
    hook = HOOKS.build(dict(type="CollapseMonitorHook", interval=2, begin=0, window=1, repeat=100))
    seen: list[tuple[int, str]] = []
    flushes: list[int] = []
    runner = Runner(
        model=CollapsingModel(), work_dir=str(tmp_path), default_scope="mmsscl", experiment_name=f"monitor_{next(NUMBERS)}",
        train_dataloader={
            "dataset": rows, "batch_size": 1, "num_workers": 0, "sampler": {"type": "DefaultSampler", "shuffle": False},
            "collate_fn": lambda batch: {"inputs": torch.stack([row for row, in batch])},
        },
        train_cfg={"by_epoch": True, "max_epochs": 1}, optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.01}},
        default_hooks={"runtime_info": {"type": "DeferredRuntimeInfoHook"}, "logger": {"type": "LoggerHook", "interval": 2}},
        custom_hooks=[hook],
    )  # fmt: skip
    monkeypatch.setattr(runner.logger, "warning", lambda text: seen.append((runner.model.step, text)))
    flush = DeferredRuntimeInfoHook.flush
    monkeypatch.setattr(
        DeferredRuntimeInfoHook, "flush", lambda self, runner: (flushes.append(runner.model.step), flush(self, runner))[1]
    )
    runner.train()
    assert [step for step, text in seen if text.startswith("projection_std")] == [4]
    assert sorted(set(flushes)) == [2, 4, 5]


def test_values_outside_their_ranges_are_refused() -> None:
    for name, value in (("interval", 0), ("window", 0), ("begin", -1), ("repeat", 1.5), ("interval", True)):
        with pytest.raises(InputError, match=f"{name}={value}"):
            CollapseMonitorHook(**{name: value})
    for name in ("least_std", "most_cosine", "least_sample_size", "least_trust", "most_border", "most_centre"):
        with pytest.raises(InputError, match=rf"{name}=1\.5"):
            CollapseMonitorHook(**{name: 1.5})


def test_collapse_stops_the_run_if_asked_to_and_nothing_else_does() -> None:
    for figure, value in UNHEALTHY.items():
        runner = StubRunner()
        runner.log(**HEALTHY | {figure: value})
        CollapseMonitorHook().look(runner)
        if figure != "projection_std":
            CollapseMonitorHook(stop=True).look(runner)
    runner = StubRunner(iteration=899)
    runner.log(region_projection_std=0.05)
    hook = CollapseMonitorHook(stop=True)
    for _ in range(2):
        # in the pause between two warnings too
        with pytest.raises(InputError, match=r"stopped in iteration 900: region_projection_std: .*spread 0\.050"):
            hook.look(runner)
    assert len(runner.warnings) == 1
    early = StubRunner(iteration=10)
    early.log(projection_std=0.0)
    hook.look(early)


# two processes import torch and mmpretrain
@pytest.mark.slow
def test_the_collapse_of_one_process_stops_both(tmp_path) -> None:
    # on rank 1 alone any spread is below the limit
    more = NARROW + """
import os
train_dataloader.update(batch_size=2)
train_cfg["max_epochs"] = 30
custom_hooks.append(dict(
    type="CollapseMonitorHook", stop=True, begin=0, interval=1, least_std=1.0 if os.environ["RANK"] == "1" else 0.0))
del os
"""
    config = write_pretraining_config(tmp_path, 8, more)
    run = KillableRun(config, tmp_path / "run", world=2)
    assert run.wait(run.start()) == [1, 1], run.output()[-3000:]
    assert run.output().count("InputError: stopped in iteration ") == 2
