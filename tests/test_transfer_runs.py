"""Every config of configs/transfer trains and evaluates, small."""

import math

import pytest
import torch
from mmengine.hooks import Hook

from mmsscl.engine.config import load_config
from mmsscl.engine.train import train
from mmsscl.registry import HOOKS
from tests.sample_runs import ROOT, write_backbone, write_coco
from tests.sample_transfer import small_run

TRANSFER = sorted(path.name for path in (ROOT / "configs/transfer").glob("*.py"))


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    # laying out the text of the config, four times, is half of so short a run
    monkeypatch.setattr("yapf.yapflib.yapf_api.FormatCode", lambda text, **_: (text, True))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def r18_file(tmp_path_factory):
    return write_backbone(tmp_path_factory.mktemp("r18") / "backbone.pth")


@pytest.mark.parametrize("name", TRANSFER)
def test_two_steps_and_an_evaluation(name, tmp_path, r18_file):
    config, options = small_run(ROOT / "configs/transfer" / name, tmp_path, r18_file)
    runner = train(config, work_dir=str(tmp_path / "run"), options=options)
    assert runner.iter >= 2
    log = next((tmp_path / "run").rglob("*.log")).read_text()
    assert "backbone: all 120 parameters and buffers are those of" in log
    scalars = {name: float(value.current()) for name, value in runner.message_hub.log_scalars.items()}
    assert math.isfinite(scalars["train/loss"])
    metrics = {name.removeprefix("val/"): value for name, value in scalars.items() if name.startswith("val/")}
    wanted = {"pascal_voc/mAP", "pascal_voc/AP50", "pascal_voc/AP75"} if "voc" in name else {"coco/bbox_mAP"}
    wanted |= {"coco/segm_mAP"} if "mask" in name else set()
    assert wanted <= metrics.keys()
    assert ("coco/segm_mAP" in metrics) == ("mask" in name)
    assert all(-1 <= metrics[name] <= 1 for name in wanted)
    before = torch.load(r18_file, weights_only=True)["state_dict"]
    after = runner.model.backbone.state_dict()
    # the first convolution moves only where nothing is frozen
    assert not torch.equal(after["conv1.weight"], before["conv1.weight"])
    assert not torch.equal(after["bn1.running_mean"], before["bn1.running_mean"])


def test_frozen_backbone_stays_while_the_rest_learns(tmp_path, r18_file, monkeypatch):
    monkeypatch.setenv("MMSSCL_DATA", str(tmp_path))
    options = write_coco(tmp_path)
    options |= {"model.backbone.init_cfg.checkpoint": str(r18_file), "train_dataloader.num_workers": 0}
    options |= {"train_cfg.max_iters": 3, "train_cfg.val_interval": 3, "train_dataloader.persistent_workers": False}
    for loader in ("val_dataloader", "test_dataloader"):
        options[f"{loader}.num_workers"] = 0
    options |= {f"default_hooks.checkpoint.{key}": value for key, value in (("interval", 3), ("by_epoch", False))}
    start = {}

    class Remember(Hook):
        def before_train(self, runner):
            start.update({name: value.clone() for name, value in runner.model.state_dict().items()})

    monkeypatch.setattr(HOOKS, "_module_dict", HOOKS._module_dict | {"Remember": Remember})
    leaf = tmp_path / "frozen.py"
    base = ROOT / "configs/scenes/faster_rcnn_r18_voc_frozen.py"
    leaf.write_text(
        f"_base_ = [{str(base)!r}]\n"
        "custom_hooks = [dict(type='mmsscl.BackboneWeightsHook'), dict(type='mmsscl.Remember')]\n"
    )
    runner = train(leaf, work_dir=str(tmp_path / "run"), options=options)
    assert runner.iter == 3
    end = runner.model.state_dict()
    moved = {name for name, value in end.items() if not torch.equal(value, start[name])}
    assert not {name for name in moved if name.startswith("backbone.")}, "weights and batch norm statistics"
    others = {name for name, _ in runner.model.named_parameters() if not name.startswith("backbone.")}
    assert others <= moved
    wanted = torch.load(r18_file, weights_only=True)["state_dict"]
    assert all(torch.equal(end[f"backbone.{name}"], value) for name, value in wanted.items())


def test_voc_protocol_is_the_published_one():
    config = load_config(ROOT / "configs/transfer/faster_rcnn_r50_c4_syncbn_24k_voc0712.py")
    parts = config.train_dataloader.dataset.datasets
    assert [part.ann_file for part in parts] == [f"VOC{year}/ImageSets/Main/trainval.txt" for year in (2007, 2012)]
    assert config.test_dataloader.dataset.ann_file == "VOC2007/ImageSets/Main/test.txt"
    assert [resize.scales for part in parts for resize in part.pipeline if "scales" in resize] == [
        [(1333, side) for side in range(480, 801, 32)]
    ] * 2
    assert config.train_cfg.max_iters == config.param_scheduler[1].end == 24000
    assert config.train_dataloader.batch_size * 8 == config.auto_scale_lr.base_batch_size == 16
    assert config.optim_wrapper.optimizer.lr == 0.02
    assert config.test_evaluator.eval_mode == "11points"
    assert config.test_evaluator.iou_thrs == [round(0.5 + 0.05 * step, 2) for step in range(10)]
    # the names of the metrics are made by rounding down
    assert len({int(threshold * 100) for threshold in config.test_evaluator.iou_thrs}) == 10
