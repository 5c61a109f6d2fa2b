"""Nothing in a training step asks a tensor for its value: on a GPU each such read waits for the device."""
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import Tensor

from mmsscl.engine.hooks import DeferredRuntimeInfoHook, MomentumUpdateHook
from mmsscl.engine.optimizers import LARS
from mmsscl.registry import MODELS

READS = ("item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__float__", "__int__", "__index__")


@contextmanager
def reads_forbidden(monkeypatch):
    def forbid(name):
        def read(self, *args, **kwargs):
            raise AssertionError(f"Tensor.{name} in the training step")
        return read

    with monkeypatch.context() as patch:
        for name in READS:
            patch.setattr(Tensor, name, forbid(name), raising=False)
        yield


@pytest.mark.parametrize("kind", ["SCRL", "BYOL"])
def test_training_step_reads_no_tensor(kind, monkeypatch):
    torch.manual_seed(0)
    norm = {"type": "BN"}
    model = MODELS.build({
        "type": kind,
        "backbone": {"type": "mmpretrain.ResNet", "depth": 18, "out_indices": (3,), "norm_cfg": norm},
        "neck": {
            "type": "RegionNeck" if kind == "SCRL" else "GlobalNeck", "in_channels": 512, "hidden_channels": 16,
            "out_channels": 8, "norm_cfg": norm,
        },
        "head": {
            "type": "RegionPredictHead", "in_channels": 8, "hidden_channels": 16, "out_channels": 8, "norm_cfg": norm
        },
    }).train()
    wrapper = OptimWrapper(LARS(model.parameters(), lr=0.1, weight_decay=1e-4))
    seen = Counter()
    runner = SimpleNamespace(
        model=model, optim_wrapper=wrapper, max_iters=100, iter=0, train_dataloader=range(100),
        message_hub=SimpleNamespace(update_scalar=lambda key, value: seen.update({key: 1})), hooks=[],
    )
    ema, log = MomentumUpdateHook(), DeferredRuntimeInfoHook()
    log._intervals = [5]
    ema.before_train(runner)
    batch = {
        "inputs": [torch.randn(4, 3, 64, 64) for _ in range(2)],
        "pairs": {
            "boxes": torch.tensor([0.0, 0.0, 40.0, 40.0]).repeat(4, 2, 3, 1),
            "valid": torch.ones(4, 3, dtype=torch.bool),
        },
    }

    def step(index):
        outputs = model.train_step(batch, wrapper)
        log.after_train_iter(runner, index, batch, outputs)

    step(0)
    online, target = model.backbone.conv1.weight, model.target["backbone"].conv1.weight
    before = online.detach().clone(), target.clone()
    with reads_forbidden(monkeypatch):
        step(1)
        step(2)
    assert not torch.equal(online, before[0])
    assert not torch.equal(target, before[1])
    assert seen == {"train/momentum_target": 3}
    step(3)
    step(4)
    assert seen["train/loss_cosine"] == seen["train/projection_std"] == 5
    frozen = set(model.target.parameters())
    assert not frozen & set(wrapper.optimizer.state), "the target must have no optimizer state"


def test_the_guard_catches_a_read(monkeypatch):
    with reads_forbidden(monkeypatch), pytest.raises(AssertionError, match=r"Tensor\.item"):
        torch.ones(1).item()
