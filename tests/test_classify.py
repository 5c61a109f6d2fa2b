"""The configs of configs/classify: two steps of each and an evaluation, and labels that do not fit."""
import cv2
import numpy as np
import pytest
import torch

from mmsscl.engine.config import load_config
from mmsscl.engine.dataset_from_folders import apply_dataset_from_folders
from mmsscl.engine.evaluate import evaluate
from mmsscl.engine.train import train
from mmsscl.errors import InputError
from tests.sample_runs import ROOT, write_backbone

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSIFY = sorted(path.name for path in (ROOT / "configs/classify").glob("*.py"))
CLASSES = ("cat", "dog", "owl")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for position, label in enumerate(CLASSES):
            (root / split / label).mkdir(parents=True)
            for index in range(3):
                image = generator.integers(0, 60, (48, 64, 3), dtype=np.uint8) + np.uint8(90 * position)
                cv2.imwrite(str(root / split / label / f"{label}_{index}.jpg"), image)
    # a published list: names only
    (root / "part.txt").write_text("".join(f"{label}_{index}.jpg\n" for label in CLASSES for index in (0, 2)))
    return root


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return write_backbone(tmp_path_factory.mktemp("r18") / "backbone.pth")


def small_options(photos, backbone, name):
    options = {
        "model.backbone.depth": 18,
        "model.backbone.init_cfg.checkpoint": str(backbone),
        "model.head.in_channels": (64, 128, 256, 512) if "orl" in name else 512,
        "dataset_from_folders.train": str(photos / "train"),
        "dataset_from_folders.val": str(photos / "val"),
        "train_dataloader.batch_size": 5,
        "train_cfg.max_epochs": 1,
        "train_cfg.val_interval": 1,
        "default_hooks.logger.interval": 1,
    }
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        options |= {f"{loader}.num_workers": 0, f"{loader}.persistent_workers": False}
    if "semi" in name:
        options |= {"dataset_from_folders.label_list": str(photos / "part.txt"), "train_dataloader.batch_size": 3}
    return options


@pytest.mark.parametrize("name", CLASSIFY)
def test_each_config_takes_two_steps_and_is_evaluated(name, tmp_path, photos, backbone):
    config = ROOT / "configs/classify" / name
    options = small_options(photos, backbone, name)
    runner = train(config, work_dir=str(tmp_path / "run"), options=options)
    assert runner.iter == 2
    log = next((tmp_path / "run").rglob("*.log")).read_text()
    assert "backbone: all 120 parameters and buffers are those of" in log
    wanted = torch.load(backbone, weights_only=True)["state_dict"]
    state = runner.model.backbone.state_dict()
    same = [torch.equal(state[key], wanted[key]) for key in wanted]
    heads = [parameter for key, parameter in runner.model.head.named_parameters() if parameter.ndim == 2]
    assert all(len(weight) == 3 for weight in heads), "as many classes as folders"
    groups = {group["lr"] for group in runner.optim_wrapper.param_groups}
    if "semi" in name:
        assert not all(same), "all is trained"
        assert max(groups) == pytest.approx(100 * min(groups)), "the head is faster"
        assert len(runner.train_dataloader.dataset) == 6, "the listed photos"
        initial = {group.get("initial_lr", group["lr"]) for group in runner.optim_wrapper.param_groups}
        assert initial == {0.01, 1.0}
    else:
        assert all(same), "the backbone is frozen, its norms' statistics too"
        assert len(heads) == (4 if "orl" in name else 1)
    trained = {key: float(value.current()) for key, value in runner.message_hub.log_scalars.items() if "val/" in key}
    metrics = evaluate(config, tmp_path / "run" / "epoch_1.pth", work_dir=str(tmp_path / "test"), options=options)
    assert metrics["accuracy/top1"] == pytest.approx(trained["val/accuracy/top1"], abs=1e-3)
    if "orl" in name:
        stages = [metrics[f"accuracy/stage{number}_top1"] for number in range(1, 5)]
        assert metrics["accuracy/top1"] == max(stages)


def optimizer_of(config):
    return {key: value for key, value in config.optim_wrapper.optimizer.items() if key != "type"}


def test_protocols_are_the_published_ones():
    plain = {"lr": 30.0, "momentum": 0.9, "weight_decay": 0.0}
    wanted = {
        "linear_r50_in1k_moco": (8 * 32, 100, plain, [60, 80]),
        "linear_r50_folder": (256, 100, plain, [60, 80]),
        "linear_r50_in1k_byol": (8 * 128, 80, dict(plain, lr=0.2 * 1024 / 256, nesterov=True), None),
        "linear_r50_in1k_orl": (8 * 32, 28, dict(lr=0.01, momentum=0.9, weight_decay=1e-4, nesterov=True), [8, 16, 24]),
        "semi_r50_in1k_1percent": (4 * 64, 20, dict(plain, lr=0.01), [12, 16]),
        "semi_r50_in1k_10percent": (4 * 64, 20, dict(plain, lr=0.01), [12, 16]),
    }
    assert {f"{name}.py" for name in wanted} == set(CLASSIFY)
    for name, (batch, epochs, optimizer, milestones) in wanted.items():
        config = load_config(ROOT / f"configs/classify/{name}.py")
        assert config.auto_scale_lr.base_batch_size == batch, name
        assert config.train_cfg.max_epochs == epochs, name
        assert optimizer_of(config) == optimizer, name
        assert config.param_scheduler[0].get("milestones") == milestones, name
    byol = load_config(ROOT / "configs/classify/linear_r50_in1k_byol.py")
    for loader, position in (("train_dataloader", 1), ("val_dataloader", 1), ("test_dataloader", 1)):
        assert byol[loader].dataset.pipeline[position].interpolation == "bicubic"
    moco = load_config(ROOT / "configs/classify/linear_r50_in1k_moco.py")
    assert "interpolation" not in moco.train_dataloader.dataset.pipeline[1]


@pytest.mark.parametrize("stage", ["folder", "val", "hand", "missing", "typo"])
def test_labels_that_do_not_fit_are_errors_before_anything_is_built(stage, tmp_path, photos):
    options = {"dataset_from_folders.train": str(photos / "train"), "dataset_from_folders.val": str(photos / "val")}
    if stage == "folder":
        options["dataset_from_folders.train"] = str(tmp_path)
        message = "holds 0 class folders"
    elif stage == "val":
        for label in ("cat", "dog", "pig"):
            (tmp_path / label).mkdir()
        options["dataset_from_folders.val"] = str(tmp_path)
        message = r"has other classes than .*only in .*train: owl; only in .*: pig"
    elif stage == "hand":
        options = {f"{name}_dataloader.dataset.data_root": str(photos / "train") for name in ("train", "val", "test")}
        options["model.head.num_classes"] = 10
        message = r"model\.head\.num_classes=10: .*train \(train_dataloader\) has 3 classes.*num_classes=3"
    elif stage == "missing":
        del options["dataset_from_folders.val"]
        message = r"dataset_from_folders\.val: not given"
    else:
        options["dataset_from_folders.lists"] = "list.txt"
        message = r"unknown key 'lists'"
    if stage == "typo":
        config = load_config(ROOT / "configs/classify/linear_r50_folder.py")
        config.dataset_from_folders["lists"] = "list.txt"
    else:
        config = load_config(ROOT / "configs/classify/linear_r50_folder.py", options)
    with pytest.raises(InputError, match=message):
        apply_dataset_from_folders(config)


def test_data_roots_and_the_number_of_classes_by_hand_still_work(photos):
    options = {f"{name}_dataloader.dataset.data_root": str(photos / name) for name in ("train", "val")}
    options |= {"test_dataloader.dataset.data_root": str(photos / "val"), "model.head.num_classes": 3}
    config = load_config(ROOT / "configs/classify/linear_r50_folder.py", options)
    apply_dataset_from_folders(config)
    assert config.model.head.num_classes == 3
    assert config.train_dataloader.dataset.data_root == str(photos / "train")


def test_a_list_of_other_photos_stops_the_run(tmp_path, photos, backbone):
    options = small_options(photos, backbone, "semi")
    (tmp_path / "part.txt").write_text("cat_0.jpg\ndog_7.jpg\n")
    options["dataset_from_folders.label_list"] = str(tmp_path / "part.txt")
    with pytest.raises(InputError, match=r"part\.txt, line 2: dog/dog_7\.jpg is not in"):
        train(ROOT / "configs/classify/semi_r50_in1k_1percent.py", work_dir=str(tmp_path / "run"), options=options)
