"""Nothing in a training step asks a tensor for its value: on a GPU each such read waits for the device.

One place may: the plan of the photometric chain, which reads parameters that lie on the CPU anyway
(``test_nothing_is_read_back_from_the_device`` in ``test_data_preprocessor.py`` proves that it reads nothing else).
"""
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import Tensor

from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.datasets.transforms.photometric import DrawPhotometric
from mmsscl.engine.hooks import DeferredRuntimeInfoHook, MomentumUpdateHook
from mmsscl.engine.optimizers import LARS, BFloat16OptimWrapper
from mmsscl.models.augment import photometric as chain
from mmsscl.registry import MODELS

READS = ("item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__float__", "__int__", "__index__")


@contextmanager
def reads_forbidden(monkeypatch):
    planning = []

    def forbid(name):
        original = getattr(Tensor, name)

        def read(self, *args, **kwargs):
            if planning:
                return original(self, *args, **kwargs)
            raise AssertionError(f"Tensor.{name} in the training step")
        return read

    original_plan = chain.plan_photometric

    def plan(photometric, device):
        planning.append(True)
        try:
            return original_plan(photometric, device)
        finally:
            planning.pop()

    with monkeypatch.context() as patch:
        patch.setattr(chain, "plan_photometric", plan)
        for name in READS:
            patch.setattr(Tensor, name, forbid(name))
        yield


def make_batch(count=4, size=64, boxes=3, local=2):
    """As the data loader collates it, with saliency and local crops, which the plain methods leave alone."""
    transform = DrawPhotometric(views=[{"gray_prob": 0.5, "solarize_prob": 0.5}, {"blur": "gaussian"}])
    draws = [
        transform.transform({"streams": RandomStreams(0, 0, i), "local_geometry": [None] * local}) for i in range(count)
    ]
    rows = [draw["photometric"] for draw in draws]
    return {
        "inputs": [torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8) for _ in range(2)],
        "pairs": {
            "boxes": torch.tensor([0.0, 0.0, 40.0, 40.0]).repeat(count, 2, boxes, 1),
            "valid": torch.ones(count, boxes, dtype=torch.bool),
            "photometric": torch.from_numpy(np.stack(rows)),
            "geometry": torch.rand(count, 2, 5),
            "index": torch.arange(count),
            "view_scores": torch.rand(count, 2),
            "box_scores": torch.rand(count, boxes),
            "guidance": torch.rand(count),
            "local_views": torch.randint(0, 256, (count, local, 3, size // 2, size // 2), dtype=torch.uint8),
            "local_photometric": torch.from_numpy(np.stack([draw["local_photometric"] for draw in draws])),
            "local_scores": torch.rand(count, local),
        },
    }


@pytest.mark.parametrize("wrapper_type", [OptimWrapper, BFloat16OptimWrapper])
@pytest.mark.parametrize("kind", ["SCRL", "BYOL", "SGCL", "SCRL+SGCL", "SGCL over MoCo"])
def test_training_step_reads_no_tensor(kind, wrapper_type, monkeypatch):
    torch.manual_seed(0)
    norm = {"type": "BN"}
    neck = {"SCRL": "RegionNeck", "SCRL+SGCL": "GlobalRegionNeck"}.get(kind, "GlobalNeck")
    plain = {"type": "RegionPredictHead", "in_channels": 8, "hidden_channels": 16, "out_channels": 8, "norm_cfg": norm}
    weighted = {**plain, "type": "WeightedPredictHead"}
    contrastive = {"type": "WeightedContrastiveHead", "channels": 8, "queue_size": 21}
    options = {
        "SGCL": {"head": weighted, "local_head": weighted, "batch_weights": True},
        "SCRL+SGCL": {"head": weighted, "local_head": weighted, "region_head": weighted, "regions": "both"},
        "SGCL over MoCo": {"head": contrastive, "local_head": contrastive, "target_norm": "average"},
    }.get(kind, {"head": plain})
    model = MODELS.build({
        "type": "SGCL" if "SGCL" in kind else kind,
        # A quarter of the width: quicker, the same code.
        "backbone": {
            "type": "mmpretrain.ResNet", "depth": 18, "stem_channels": 16, "base_channels": 16, "out_indices": (3,),
            "norm_cfg": norm,
        },
        "neck": {"type": neck, "in_channels": 128, "hidden_channels": 16, "out_channels": 8, "norm_cfg": norm},
        "data_preprocessor": {"type": "PairDataPreprocessor"},
        **options,
    }).train()
    wrapper = wrapper_type(optimizer=LARS(model.parameters(), lr=0.1, weight_decay=1e-4))
    seen = Counter()
    runner = SimpleNamespace(
        model=model, optim_wrapper=wrapper, max_iters=100, iter=0, train_dataloader=range(100),
        message_hub=SimpleNamespace(update_scalar=lambda key, value: seen.update({key: 1})), hooks=[],
    )
    ema, log = MomentumUpdateHook(), DeferredRuntimeInfoHook()
    log._intervals = [5]
    ema.before_train(runner)
    batch = make_batch()

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
    loss = "train/loss_global" if "SGCL" in kind else "train/loss_cosine"
    assert seen[loss] == seen["train/projection_std"] == 5
    if "SGCL" in kind:
        assert seen["train/effective_sample_size"] == seen["train/saliency_guidance"] == 5
    frozen = set(model.target.parameters())
    assert not frozen & set(wrapper.optimizer.state), "the target must have no optimizer state"


def test_the_guard_catches_a_read(monkeypatch):
    with reads_forbidden(monkeypatch), pytest.raises(AssertionError, match=r"Tensor\.item"):
        torch.ones(1).item()
