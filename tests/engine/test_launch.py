"""Data loaders and norm layers that fit the machine."""
import pytest
import torch
from mmengine.config import Config
from torch.utils.data import DataLoader

from mmsscl.engine.launch import drop_worker_settings, prepare_devices
from mmsscl.registry import MODELS

FOR_WORKERS = dict(persistent_workers=True, prefetch_factor=4, multiprocessing_context="fork", timeout=30)


@pytest.fixture
def logged(monkeypatch):
    lines = []
    monkeypatch.setattr("mmsscl.engine.launch.print_log", lambda text, logger: lines.append(text))
    return lines


def test_loaders_without_workers_lose_what_is_for_workers(logged):
    config = Config(dict(
        train_dataloader=dict(num_workers=0, batch_size=2, **FOR_WORKERS), val_dataloader=dict(num_workers=2, **FOR_WORKERS),
        test_dataloader=None,
    ))  # fmt: skip
    with pytest.raises(ValueError, match="num_workers"):
        DataLoader(range(4), **config.train_dataloader)
    prepare_devices(config, "none")
    assert config.train_dataloader.to_dict() == dict(num_workers=0, batch_size=2)
    assert config.val_dataloader.to_dict() == dict(num_workers=2, **FOR_WORKERS)
    assert len(list(DataLoader(range(4), **config.train_dataloader))) == 2
    worker_lines = [line for line in logged if "num_workers=0" in line]
    assert len(worker_lines) == 1
    assert worker_lines[0].startswith("train_dataloader: ")
    assert all(key in worker_lines[0] for key in FOR_WORKERS)


def test_nothing_to_switch_off_is_not_logged(logged):
    config = Config(dict(train_dataloader=dict(persistent_workers=False, prefetch_factor=None, batch_size=2)))
    drop_worker_settings(config)
    assert config.train_dataloader.to_dict() == dict(persistent_workers=False, prefetch_factor=None, batch_size=2)
    assert not logged


@pytest.mark.parametrize(
    ("kind", "channels"), [("RegionNeck", dict(stride=32)), ("GlobalNeck", {}), ("RegionPredictHead", {})]
)
def test_components_without_norm_cfg_hold_no_synchronised_norm_on_a_cpu(monkeypatch, kind, channels):
    """``replace_sync_norm`` sees what the config says, so the constructors' own default must fit the machine."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    component = MODELS.build(dict(type=kind, in_channels=8, hidden_channels=4, out_channels=4, **channels))
    norms = [module for module in component.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert not any(isinstance(norm, torch.nn.SyncBatchNorm) for norm in norms)
