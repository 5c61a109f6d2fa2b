from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmsscl.engine.config import load_config
from mmsscl.engine.preflight import check_checkpoints, check_config, explain_build_error
from mmsscl.errors import InputError
from mmsscl.registry import MODELS
from tests.sample_runs import write_pretraining_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config_file(tmp_path):
    return write_pretraining_config(tmp_path, photos=1)


def test_a_right_config_passes(config_file):
    check_config(load_config(config_file))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model.type": "SCLR"}, r"model: type 'SCLR' is not registered.*SCRL"),
        ({"model.backbone.type": "mmpretrain.ResNt"}, r"model\.backbone: .*mmpretrain\.ResNet"),
        ({"model.neck.type": "RegionNek"}, r"model\.neck: .*RegionNeck"),
        ({"custom_hooks.0.type": "MomentumUpdatHook"}, r"custom_hooks\.0: .*MomentumUpdateHook"),
        ({"train_dataloader.dataset.type": "SceneImage"}, r"train_dataloader\.dataset: .*SceneImages"),
        ({"train_dataloader.dataset.pipeline.1.type": "SpatialPair"}, r"pipeline\.1: .*SpatialConsistentPair|pipeline\.1"),
        ({"optim_wrapper.optimizer.type": "LARZ"}, r"optim_wrapper\.optimizer: .*LARS"),
        ({"train_cfg.type": "EpochLoop"}, r"train_cfg: type 'EpochLoop'"),
    ],
)
def test_unknown_names_come_with_their_place_and_the_nearest(config_file, options, message):
    with pytest.raises(InputError, match=message):
        check_config(load_config(config_file, options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model.backbone.pooling": 1}, r"model\.backbone: mmpretrain\.ResNet takes no keyword 'pooling'.*frozen_stages"),
        ({"optim_wrapper.optimizer.nesterof": 1}, r"LARS takes no keyword 'nesterof'"),
        ({"custom_hooks.0.tau": 1}, r"MomentumUpdateHook takes no keyword 'tau'"),
        ({"train_cfg.iterations": 1}, r"EpochBasedTrainLoop takes no keyword 'iterations'.*max_epochs"),
        ({"train_dataloader.processes": 1}, r"data loader takes no key 'processes'.*num_workers"),
        ({"train_dataloader.dataset.folder": 1}, r"SceneImages takes no keyword 'folder'.*data_root"),
    ],
)
def test_unknown_keywords_come_with_the_valid_ones(config_file, options, message):
    with pytest.raises(InputError, match=message):
        check_config(load_config(config_file, options))


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ({"type": "MomentumUpdateHook"}, r"custom_hooks: is a \w*[dD]ict; give a list"),
        (["MomentumUpdateHook"], r"custom_hooks\[0\]: is 'MomentumUpdateHook'; give a dict"),
        ([{"type": "MomentumUpdateHook"}, None], r"custom_hooks\[1\]: is None"),
    ],
)
def test_hooks_are_a_list_of_dicts(config_file, hooks, message):
    config = load_config(config_file)
    config.custom_hooks = hooks
    with pytest.raises(InputError, match=message):
        check_config(config)


def test_keywords_of_the_resumable_loop_are_checked():
    config = load_config(ROOT / "configs/scrl_r50_coco.py", {"train_cfg.iterations": 1})
    with pytest.raises(InputError, match=r"ResumableEpochLoop takes no keyword 'iterations'.*max_epochs"):
        check_config(config)


@pytest.mark.parametrize("name", ["sgcl_r50_coco", "scrl_sgcl_r50_coco", "sgcl/sgcl_shuffled_r50_coco"])
def test_maps_that_no_hook_makes_are_noticed(name):
    file = ROOT / f"configs/{name}.py"
    check_config(load_config(file))
    config = load_config(file)
    # as a child config does that sets its own hooks
    config.custom_hooks = [dict(type="MomentumUpdateHook", momentum=0.99)]
    with pytest.raises(InputError, match=r"pipeline\.1: LoadSaliency waits for maps .*Add dict\(type='SaliencyRefreshHook'"):
        check_config(config)
    config.custom_hooks.append(dict(type="mmsscl.SaliencyRefreshHook"))
    check_config(config)


@pytest.mark.parametrize("sampler", ["DefaultSampler", "mmengine.InfiniteSampler"])
def test_photos_for_pretraining_need_a_sampler_that_knows_the_epoch(config_file, sampler):
    with pytest.raises(InputError, match=r"train_dataloader\.sampler: .*the same crops.*EpochIndexSampler"):
        check_config(load_config(config_file, {"train_dataloader.sampler.type": sampler}))


def test_hook_priority_and_optimizer_constructor_keys_are_known(config_file):
    options = {"custom_hooks.0.priority": "LOW", "optim_wrapper.paramwise_cfg": dict(norm_decay_mult=0.0)}
    check_config(load_config(config_file, options))


def checkpoint_config(tmp_path, **settings):
    return Config(dict(work_dir=str(tmp_path), model=dict(backbone=dict(init_cfg=None))) | settings)


def test_checkpoints_are_read_before_anything_is_built(tmp_path):
    text = tmp_path / "notes.pth"
    text.write_text("weights are elsewhere\n")
    init = dict(backbone=dict(init_cfg=dict(type="Pretrained", checkpoint=str(text))))
    with pytest.raises(InputError, match=r"model\.backbone\.init_cfg\.checkpoint: .*text file.*export_backbone"):
        check_checkpoints(checkpoint_config(tmp_path, model=init))
    with pytest.raises(InputError, match=r"load_from: .*text file"):
        check_checkpoints(checkpoint_config(tmp_path, load_from=str(text)))
    with pytest.raises(InputError, match=r"load_from: .*no such file"):
        check_checkpoints(checkpoint_config(tmp_path, load_from=str(tmp_path / "none.pth"), resume=True))


def test_addresses_and_unused_variables_are_not_opened(tmp_path):
    remote = dict(init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet50"))
    local = dict(init_cfg=dict(type="Pretrained", checkpoint="none.pth"))
    check_checkpoints(checkpoint_config(tmp_path, model=dict(backbone=remote), a_variable=local))


def test_resume_does_not_need_the_file_the_run_started_from(tmp_path):
    torch.save(dict(state_dict={"a": torch.zeros(1)}), tmp_path / "epoch_1.pth")
    init = dict(backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="gone.pth")))
    check_checkpoints(checkpoint_config(tmp_path, model=init, resume=True, load_from=str(tmp_path / "epoch_1.pth")))


def test_resume_in_a_moved_folder_needs_neither_that_file_nor_the_old_folder(tmp_path):
    state = dict(state_dict={"a": torch.zeros(1)}, message_hub={}, meta=dict(epoch=1, iter=1))
    torch.save(state, tmp_path / "epoch_1.pth")
    (tmp_path / "last_checkpoint").write_text("/gone/epoch_1.pth")
    init = dict(backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="gone.pth")))
    check_checkpoints(checkpoint_config(tmp_path, model=init, resume=True))
    (tmp_path / "epoch_1.pth").unlink()
    with pytest.raises(InputError, match=r"gone\.pth: no such file"):
        check_checkpoints(checkpoint_config(tmp_path, model=init, resume=True))


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ({}, []),
        ({"train_cfg.max_epochs": 100}, ["ends at 800, but train_cfg.max_epochs is 100"]),
        ({"train_cfg.max_epochs": 100, "param_scheduler.1.end": 100, "param_scheduler.1.T_max": 90}, []),
        ({"param_scheduler": None}, []),
    ],
)
def test_a_length_without_its_schedule_is_warned_of(monkeypatch, options, warned):
    said = []
    monkeypatch.setattr("mmsscl.engine.preflight.print_log", lambda text, **_: said.append(text))
    check_config(load_config(ROOT / "configs/scrl_r50_coco.py", options))
    assert len(said) == len(warned)
    assert all(part in text for text, part in zip(said, warned, strict=True))


def test_a_schedule_that_ends_before_it_begins_is_told():
    config = load_config(ROOT / "configs/scrl_r50_coco.py", {"train_cfg.max_epochs": 5, "param_scheduler.1.end": 5})
    with pytest.raises(InputError, match=r"param_scheduler\.1 ends at 5, where it has not begun \(10\)"):
        check_config(config)


def test_registry_errors_while_building_are_explained():
    with pytest.raises(KeyError) as unknown:
        MODELS.build(dict(type="NoSuchModel"))
    assert "NoSuchModel" in str(explain_build_error(unknown.value))
    with pytest.raises(TypeError) as keyword:
        MODELS.build(dict(type="mmpretrain.ResNet", depth=18, pooling=1))
    explained = explain_build_error(keyword.value)
    assert isinstance(explained, InputError)
    assert "pooling" in str(explained)
    assert explain_build_error(KeyError("loss")) is None
    assert explain_build_error(TypeError("unsupported operand")) is None
