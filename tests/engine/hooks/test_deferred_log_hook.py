import json

import numpy as np
import pytest
import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from mmsscl.engine.hooks import DeferredRuntimeInfoHook


class NoisyModel(BaseModel):
    """Logs a float tensor, a bfloat16 one and an integer one; each differs from step to step."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(2, 1)
        self.step = 0

    def forward(self, inputs, mode="tensor"):
        return {"loss": self.line(inputs).square().mean()}

    def train_step(self, data, optim_wrapper):
        log = super().train_step(data, optim_wrapper)
        self.step += 1
        log["low"] = torch.tensor(self.step / 7, dtype=torch.bfloat16)
        log["count"] = torch.tensor(self.step)
        log["plain"] = self.step / 3
        return log


class NumberedRows(torch.utils.data.Dataset):
    def __len__(self):
        return 7

    def __getitem__(self, index):
        return {"inputs": torch.tensor([index, 1.0])}


def make_runner(tmp_path, kind, interval=3, checkpoint=None, train_cfg=None, **options):
    torch.manual_seed(0)
    return Runner(
        model=NoisyModel(),
        work_dir=str(tmp_path / kind),
        train_dataloader={
            "dataset": NumberedRows(), "sampler": {"type": "DefaultSampler", "shuffle": False}, "batch_size": 1,
            "num_workers": 0, "collate_fn": {"type": "default_collate"},
        },
        train_cfg=train_cfg or {"by_epoch": True, "max_epochs": 2},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.01}},
        default_hooks={
            "runtime_info": {"type": kind},
            "logger": {"type": "LoggerHook", "interval": interval, **options},
            "checkpoint": checkpoint or {"type": "CheckpointHook", "interval": 1},
        },
        default_scope="mmsscl",
        experiment_name=f"{kind}_{tmp_path.name}",
    )


def history(hub):
    return {
        key: buffer.data[0].tolist() for key, buffer in hub.log_scalars.items() if "time" not in key
    }


def printed(runner):
    lines = [line for path in runner.work_dir_path.rglob("scalars.json") for line in path.read_text().splitlines()]
    return [{key: value for key, value in json.loads(line).items() if "time" not in key} for line in lines]


@pytest.mark.parametrize("interval", [1, 3, 50])
@pytest.mark.parametrize("ignore_last", [True, False])
def test_hub_and_log_equal_the_stock_hooks(tmp_path, interval, ignore_last):
    results = []
    for kind in ("RuntimeInfoHook", "mmsscl.DeferredRuntimeInfoHook"):
        runner = make_runner(tmp_path, kind, interval, ignore_last=ignore_last)
        runner.train()
        runner.work_dir_path = tmp_path / kind
        results.append((history(runner.message_hub), list(runner.message_hub.log_scalars), printed(runner)))
    assert results[0][0] == results[1][0]
    assert set(results[0][0]) >= {"train/loss", "train/low", "train/count", "train/plain", "train/lr"}
    assert len(results[1][0]["train/loss"]) == 14
    assert results[0][2] == results[1][2]
    assert results[1][2]


def test_nothing_is_read_between_intervals(tmp_path, monkeypatch):
    runner = make_runner(tmp_path, "mmsscl.DeferredRuntimeInfoHook", interval=3)
    reads = []
    flush = DeferredRuntimeInfoHook.flush

    def counted(self, runner):
        if self._pending:
            reads.append((runner.epoch, runner.iter, len(self._pending)))
        flush(self, runner)

    monkeypatch.setattr(DeferredRuntimeInfoHook, "flush", counted)
    runner.train()
    assert reads == [(0, 2, 3), (0, 5, 3), (0, 6, 1), (1, 9, 3), (1, 12, 3), (1, 13, 1)]


def test_checkpoint_between_intervals_holds_every_value(tmp_path):
    runner = make_runner(
        tmp_path, "mmsscl.DeferredRuntimeInfoHook", interval=5,
        checkpoint={"type": "CheckpointHook", "interval": 2, "by_epoch": False},
        train_cfg={"by_epoch": False, "max_iters": 4},
    )
    runner.train()
    saved = torch.load(tmp_path / "mmsscl.DeferredRuntimeInfoHook" / "iter_2.pth", weights_only=False)["message_hub"]
    assert len(saved["log_scalars"]["train/loss"].data[0]) == 2
    assert len(runner.message_hub.log_scalars["train/loss"].data[0]) == 4
    np.testing.assert_allclose(runner.message_hub.log_scalars["train/plain"].data[0], np.arange(1, 5) / 3)


def test_kept_values_are_copies_without_a_graph(tmp_path):
    hook = DeferredRuntimeInfoHook()
    loss = torch.ones((), requires_grad=True) * 2
    hook._keep({"loss": loss, "size": 3})
    loss.detach().fill_(100.0)
    (values, kept), = hook._pending
    (names, row), = kept.values()
    assert names == ["loss"]
    assert row.tolist() == [2.0]
    assert not row.requires_grad
    assert values == {"loss": None, "size": 3}


def test_same_priority_as_the_stock_hook():
    assert DeferredRuntimeInfoHook.priority == RuntimeInfoHook.priority
