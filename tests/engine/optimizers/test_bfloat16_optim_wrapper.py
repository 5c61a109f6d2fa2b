"""BFloat16OptimWrapper: where bfloat16 reaches and where not, accumulation, mmengine's Runner on a CPU."""
from contextlib import contextmanager
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from mmsscl.engine.hooks import MomentumUpdateHook
from mmsscl.engine.optimizers import LARS, BFloat16OptimWrapper
from mmsscl.registry import MODELS


class Recorder(BaseModel):
    """A linear layer that notes the types it computes in."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.dtypes = set()
        self.unsynchronised = 0

    def forward(self, inputs, mode="tensor"):
        out = self.linear(inputs)
        self.dtypes.add(out.dtype)
        return {"loss": out.float().square().mean()}

    @contextmanager
    def no_sync(self):
        self.unsynchronised += 1
        yield


def tensors_of(value):
    if isinstance(value, torch.Tensor):
        return [value]
    children = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for child in children for tensor in tensors_of(child)]


@pytest.mark.parametrize("optimizer_type", [LARS, torch.optim.AdamW])
def test_forward_in_bfloat16_and_everything_kept_in_float32(optimizer_type):
    model = Recorder()
    before = model.linear.weight.detach().clone()
    wrapper = BFloat16OptimWrapper(optimizer=optimizer_type(model.parameters(), lr=0.1))
    kept = []
    wrapper.optimizer.register_step_pre_hook(lambda *_: kept.extend(p.grad.dtype for p in model.parameters()))
    model.train_step({"inputs": torch.randn(5, 3)}, wrapper)
    assert model.dtypes == {torch.bfloat16}
    assert kept == [torch.float32] * 2
    assert all(param.dtype == torch.float32 for param in model.parameters())
    assert not torch.equal(model.linear.weight, before)
    state = tensors_of(wrapper.state_dict()["state"])
    assert state
    assert all(tensor.dtype == torch.float32 for tensor in state)
    assert not torch.is_autocast_enabled("cpu"), "autocast must end with the context"


def test_state_dict_is_the_plain_wrappers_without_a_loss_scaler():
    model = Recorder()
    wrapper = BFloat16OptimWrapper(optimizer=LARS(model.parameters(), lr=0.1))
    plain = OptimWrapper(optimizer=LARS(model.parameters(), lr=0.1))
    model.train_step({"inputs": torch.randn(5, 3)}, wrapper)
    assert "loss_scaler" not in wrapper.state_dict()
    assert not hasattr(wrapper, "loss_scaler")
    assert wrapper.state_dict().keys() == plain.state_dict().keys()
    plain.load_state_dict(wrapper.state_dict())


def test_only_the_last_of_an_accumulation_synchronises():
    model = Recorder()
    wrapper = BFloat16OptimWrapper(optimizer=LARS(model.parameters(), lr=0.1), accumulative_counts=3)
    wrapper.initialize_count_status(model, 0, 6)
    counts = []
    for _ in range(6):
        model.train_step({"inputs": torch.randn(5, 3)}, wrapper)
        counts.append(model.unsynchronised)
    assert counts == [1, 2, 2, 3, 4, 4]


def make_scrl():
    torch.manual_seed(0)
    norm = {"type": "BN"}
    return MODELS.build({
        "type": "SCRL",
        "backbone": {"type": "mmpretrain.ResNet", "depth": 18, "out_indices": (3,), "norm_cfg": norm},
        "neck": {"type": "RegionNeck", "in_channels": 512, "hidden_channels": 8, "out_channels": 4, "norm_cfg": norm},
        "head": {
            "type": "RegionPredictHead", "in_channels": 4, "hidden_channels": 8, "out_channels": 4, "norm_cfg": norm
        },
    }).train()


def make_batch(valid):
    low = 30 * torch.rand(4, 2, 2, 2)
    return {
        "inputs": [torch.randn(4, 3, 64, 64) for _ in range(2)],
        "pairs": {"boxes": torch.cat([low, low + 30], -1), "valid": torch.tensor(valid, dtype=torch.bool)},
    }


def test_accumulation_steps_on_the_mean_gradient_and_moves_the_target_only_then():
    model = make_scrl()
    batches = [make_batch([[1, 1]] * 4), make_batch([[1, 0]] * 4)] * 2
    lr = 0.5
    wrapper = BFloat16OptimWrapper(
        optimizer=torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr), accumulative_counts=2
    )
    wrapper.initialize_count_status(model, 0, 4)
    momenta = []
    runner = SimpleNamespace(
        model=model, optim_wrapper=wrapper, max_iters=4, iter=0,
        message_hub=SimpleNamespace(update_scalar=lambda key, value: momenta.append(value)),
    )
    MomentumUpdateHook(0.9).before_train(runner)
    stepped = []
    wrapper.optimizer.register_step_pre_hook(
        lambda *_: stepped.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    )
    expected = []
    for index, batch in enumerate(batches):
        if index % 2 == 0:
            micro = []
            for part in batches[index : index + 2]:
                reference = deepcopy(model)
                reference.zero_grad()
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    loss = reference(**part, mode="loss")["loss_cosine"]
                loss.backward()
                micro.append({n: p.grad for n, p in reference.named_parameters() if p.grad is not None})
            expected.append({name: (grad + micro[1][name]) / 2 for name, grad in micro[0].items()})
        online, target = model.backbone.conv1.weight.detach().clone(), model.target["backbone"].conv1.weight.clone()
        model.train_step(batch, wrapper)
        steps = (index + 1) // 2
        assert len(stepped) == len(momenta) == steps
        if index % 2 == 0:
            assert torch.equal(model.backbone.conv1.weight, online)
            assert torch.equal(model.target["backbone"].conv1.weight, target)
        else:
            assert not torch.equal(model.backbone.conv1.weight, online)
            assert torch.allclose(
                model.target["backbone"].conv1.weight,
                torch.lerp(target, model.backbone.conv1.weight.detach(), 1 - momenta[-1]), atol=1e-7,
            )
    assert momenta == pytest.approx([0.9, 0.95])
    for mine, theirs in zip(stepped, expected):
        assert mine.keys() == theirs.keys()
        for name, grad in theirs.items():
            assert grad.any()
            assert (mine[name] - grad).norm() < 1e-3 * grad.norm(), name


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return {"inputs": torch.tensor([index, 1.0, -1.0])}


def make_runner(folder, epochs, **options):
    return Runner(
        model=Recorder(),
        work_dir=str(folder),
        train_dataloader={
            "dataset": Rows(), "sampler": {"type": "DefaultSampler", "shuffle": False}, "batch_size": 2,
            "num_workers": 0, "collate_fn": {"type": "default_collate"},
        },
        train_cfg={"by_epoch": True, "max_epochs": epochs},
        optim_wrapper={"type": "BFloat16OptimWrapper", "optimizer": {"type": "LARS", "lr": 0.1}},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1}},
        default_scope="mmsscl",
        experiment_name=str(folder).replace("/", "_"),
        **options,
    )


def test_mmengines_runner_trains_saves_and_resumes_on_a_cpu(tmp_path):
    runner = make_runner(tmp_path / "first", 1)
    runner.train()
    assert isinstance(runner.optim_wrapper, BFloat16OptimWrapper)
    assert runner.model.dtypes == {torch.bfloat16}
    path = tmp_path / "first" / "epoch_1.pth"
    checkpoint = torch.load(path, weights_only=False)
    assert "loss_scaler" not in checkpoint["optimizer"]
    assert all(tensor.dtype == torch.float32 for tensor in checkpoint["state_dict"].values())
    resumed = make_runner(tmp_path / "second", 2, load_from=str(path), resume=True)
    resumed.train()
    assert resumed.iter == 6
    assert not torch.equal(resumed.model.linear.weight, runner.model.linear.weight)
