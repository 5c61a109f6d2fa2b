import pytest
import torch
from mmengine.config import Config

from mmsscl.engine.launch import prepare_devices, replace_sync_norm
from mmsscl.engine.train import train
from mmsscl.errors import InputError
from mmsscl.zoo.export import export_backbone
from mmsscl.zoo.safe_load import load_checkpoint
from tests.sample_runs import ROOT, write_backbone, write_photos, write_pretraining_config

pytestmark = pytest.mark.usefixtures("one_thread")

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens on a machine without a GPU")


def test_pretrains_exports_and_resumes(tmp_path):
    config = write_pretraining_config(tmp_path)
    runner = train(config, work_dir=str(tmp_path / "run"))
    assert runner.iter == 2
    report = export_backbone(tmp_path / "run" / "epoch_1.pth", tmp_path / "backbone.pth")
    assert (report.matched, report.keys) == (120, 120)
    online = load_checkpoint(report.path)["state_dict"]
    trained = runner.model.backbone.state_dict()
    assert all(torch.equal(online[name], trained[name].cpu()) for name in online)

    resumed = train(config, work_dir=str(tmp_path / "run"), resume="auto", options={"train_cfg.max_epochs": 2})
    assert (resumed.epoch, resumed.iter) == (2, 4)
    last = load_checkpoint(tmp_path / "run" / "epoch_2.pth")
    assert last["meta"]["iter"] == 4
    named = train(
        config,
        work_dir=str(tmp_path / "other"),
        resume=str(tmp_path / "run" / "epoch_2.pth"),
        options={"train_cfg.max_epochs": 3},
    )
    assert (named.epoch, named.iter) == (3, 6)


def test_runs_of_one_second_have_logs_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr("mmengine.runner.runner.time.strftime", lambda *_: "20260101_000000")
    config = write_pretraining_config(tmp_path)
    first, second = (train(config, work_dir=str(tmp_path / name)) for name in ("first", "second"))
    losses = [runner.message_hub.get_scalar("train/loss").data[0].tolist() for runner in (first, second)]
    assert first.message_hub is not second.message_hub
    assert losses[0] == losses[1]
    assert len(losses[0]) == first.iter == 2


@no_gpu
@pytest.mark.parametrize("kind", ["BFloat16OptimWrapper", "OptimWrapper"])
def test_bf16_runs_on_a_cpu_and_keeps_float32_weights(tmp_path, kind):
    config = write_pretraining_config(tmp_path, photos=4)
    runner = train(
        config, work_dir=str(tmp_path / "run"), amp="bf16", options={"optim_wrapper.type": kind}
    )
    assert type(runner.optim_wrapper).__name__ == "BFloat16OptimWrapper"
    assert {parameter.dtype for parameter in runner.model.parameters()} == {torch.float32}
    with pytest.raises(InputError, match="--amp fp16: needs a GPU"):
        train(config, work_dir=str(tmp_path / "run"), amp="fp16")


def test_auto_scale_lr_is_linear_in_the_batch(tmp_path):
    config = write_pretraining_config(tmp_path, photos=4)
    runner = train(config, work_dir=str(tmp_path / "run"), auto_scale_lr=True)
    assert runner.optim_wrapper.param_groups[0]["lr"] == pytest.approx(0.1 * 4 / 16)
    accumulating = {"optim_wrapper.accumulative_counts": 2}
    runner = train(config, work_dir=str(tmp_path / "run"), auto_scale_lr=True, options=accumulating)
    assert runner.optim_wrapper.param_groups[0]["lr"] == pytest.approx(0.1 * 4 * 2 / 16)
    with pytest.raises(InputError, match="base_batch_size"):
        train(config, work_dir=str(tmp_path / "run"), auto_scale_lr=True, options={"auto_scale_lr": None})


def test_pretraining_starts_from_existing_weights(tmp_path):
    config = write_pretraining_config(tmp_path, photos=4)
    train(config, work_dir=str(tmp_path / "first"))
    start = export_backbone(tmp_path / "first" / "epoch_1.pth", tmp_path / "start.pth")
    # so small a learning rate keeps what was loaded
    options = {"model.backbone.init_cfg.checkpoint": start.path, "model.backbone.init_cfg.type": "Pretrained"}
    runner = train(config, work_dir=str(tmp_path / "second"), options=options | {"optim_wrapper.optimizer.lr": 1e-30})
    wanted = load_checkpoint(start.path)["state_dict"]["layer4.1.conv2.weight"]
    assert torch.allclose(runner.model.backbone.layer4[1].conv2.weight, wanted)
    assert torch.allclose(runner.model.target["backbone"].layer4[1].conv2.weight, wanted), "the target is its copy"


def test_shipped_configs_refuse_to_start_from_weights_that_do_not_fill_the_backbone(tmp_path):
    options = {
        "train_dataloader.dataset.data_root": str(write_photos(tmp_path / "photos")),
        "train_dataloader.batch_size": 4,
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
        "train_cfg.max_iters": 1,
        "model.backbone.init_cfg.type": "Pretrained",
        "model.backbone.init_cfg.checkpoint": str(write_backbone(tmp_path / "r34.pth", depth=34)),
    }
    with pytest.raises(InputError, match=r"r34\.pth.* do not match"):
        train(ROOT / "configs/quickstart/scrl_r18_toy.py", work_dir=str(tmp_path / "run"), options=options)


def test_sync_norm_becomes_batch_norm_without_a_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = Config(dict(model=dict(norm_cfg=dict(type="SyncBN"), parts=[dict(norm_cfg=dict(type="mmcv.MMSyncBN"))])))
    prepare_devices(config, "none")
    assert config.model.norm_cfg.type == "BN"
    assert config.model.parts[0].norm_cfg.type == "BN"
    assert replace_sync_norm(config._cfg_dict) == 0


def test_launchers_say_what_they_need(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(InputError, match="slurm: needs GPUs"):
        prepare_devices(Config(dict(model=dict())), "slurm")
    with pytest.raises(InputError, match=r"MASTER_ADDR.*dist_train\.sh"):
        prepare_devices(Config(dict(model=dict())), "pytorch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(InputError, match="4 processes on this machine, but 1 GPUs"):
        prepare_devices(Config(dict(model=dict())), "pytorch")


def test_empty_and_absent_folders_are_named(tmp_path):
    config = write_pretraining_config(tmp_path, photos=1)
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "absent"):
        options = {"train_dataloader.dataset.data_root": str(tmp_path / folder)}
        with pytest.raises(InputError, match=folder):
            train(config, work_dir=str(tmp_path / "run"), options=options)


def test_a_config_without_training_says_so(tmp_path):
    (tmp_path / "nothing.py").write_text("model = dict(type='SCRL')\n")
    with pytest.raises(InputError, match="has no train_dataloader"):
        train(tmp_path / "nothing.py", work_dir=str(tmp_path / "run"))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        train(write_pretraining_config(tmp_path, photos=1), work_dir=str(tmp_path / "file"))
