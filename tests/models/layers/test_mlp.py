import pytest
import torch
from mmengine.model.utils import revert_sync_batchnorm
from torch import nn

from mmsscl.errors import InputError
from mmsscl.models.layers import ProjectionMLP


def test_layers_and_result():
    torch.manual_seed(0)
    mlp = ProjectionMLP(6, 10, 4, {"type": "BN"})
    rows = torch.randn(8, 6)
    hidden = rows @ mlp.linear1.weight.T + mlp.linear1.bias
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
    expected = hidden.clamp(min=0) @ mlp.linear2.weight.T
    torch.testing.assert_close(mlp(rows), expected, atol=1e-5, rtol=1e-5)
    assert isinstance(mlp.norm, nn.BatchNorm1d)
    assert mlp.linear2.bias is None


def test_default_is_sync_bn_with_a_gpu_and_reverts_to_the_same_result(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    torch.manual_seed(0)
    mlp = ProjectionMLP(6, 10, 4)
    assert isinstance(mlp.norm, nn.SyncBatchNorm)
    keys = list(mlp.state_dict())
    plain = ProjectionMLP(6, 10, 4, {"type": "BN"})
    plain.load_state_dict(mlp.state_dict())
    reverted = revert_sync_batchnorm(mlp)
    assert not isinstance(reverted.norm, nn.SyncBatchNorm)
    assert list(reverted.state_dict()) == keys
    rows = torch.randn(8, 6)
    torch.testing.assert_close(reverted(rows), plain(rows), atol=0, rtol=0)


def test_default_runs_in_cpu_processes(monkeypatch):
    """In a process group mmengine keeps synchronised norms, and torch's refuses CPU tensors."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        default = ProjectionMLP(6, 10, 4)
        assert default(torch.randn(8, 6)).shape == (8, 4)
        with pytest.raises(ValueError, match="SyncBatchNorm"):
            ProjectionMLP(6, 10, 4, {"type": "SyncBN"})(torch.randn(8, 6))
    finally:
        torch.distributed.destroy_process_group()
    synchronised = ProjectionMLP(6, 10, 4, {"type": "SyncBN"})
    assert list(default.state_dict()) == list(synchronised.state_dict())


def test_norm_options_arrive_and_config_is_left_alone():
    cfg = {"type": "BN", "momentum": 0.02, "eps": 1e-3}
    norm = ProjectionMLP(6, 10, 4, cfg).norm
    assert (norm.momentum, norm.eps) == (0.02, 1e-3)
    assert cfg["type"] == "BN"
    assert isinstance(ProjectionMLP(6, 10, 4, {"type": "LN"}).norm, nn.LayerNorm)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"in_channels": 0}, "in_channels"),
        ({"in_channels": 4, "hidden_channels": 0}, "hidden_channels"),
        ({"in_channels": 4, "norm_cfg": {"momentum": 0.1}}, "type"),
        ({"in_channels": 4, "norm_cfg": {"type": "NoSuchNorm"}}, "NoSuchNorm"),
    ],
)
def test_bad_arguments(arguments, word):
    with pytest.raises(InputError, match=word):
        ProjectionMLP(**arguments)
