"""The configs of configs/transfer and configs/classify: built as they are, and run small."""

import ast
import json

import cv2
import numpy as np
import pytest
import torch

from mmsscl.engine.config import load_config
from mmsscl.engine.dataset_from_json import apply_dataset_from_json
from mmsscl.engine.evaluate import evaluate
from mmsscl.engine.preflight import check_config
from mmsscl.engine.train import register_scope, train
from mmsscl.errors import InputError
from tests.sample_runs import ROOT, small_detector_options, write_backbone, write_coco
from tests.sample_transfer import small_heads

pytestmark = pytest.mark.usefixtures("one_thread")

TRANSFER = sorted(path.name for path in (ROOT / "configs/transfer").glob("*.py"))
COCO = [name for name in TRANSFER if "voc" not in name]


@pytest.fixture(scope="module")
def r50_file(tmp_path_factory):
    return write_backbone(tmp_path_factory.mktemp("r50") / "backbone.pth", depth=50)


@pytest.mark.parametrize("name", COCO)
def test_every_transfer_config_builds_its_detector_and_data(name, tmp_path, r50_file):
    register_scope("mmdet")
    from mmdet.registry import DATASETS, MODELS
    from mmengine.registry import DefaultScope

    config = load_config(
        ROOT / "configs/transfer" / name, {"model.backbone.init_cfg.checkpoint": str(r50_file), "work_dir": str(tmp_path)}
    )
    # the COCO configs are pointed at the same small files: their own are not here
    config.dataset_from_json = dict(
        train=write_coco(tmp_path)["dataset_from_json.train"],
        val=str(tmp_path / "val.json"),
        images=str(tmp_path / "images"),
    )
    apply_dataset_from_json(config)
    check_config(config)
    model = MODELS.build(config.model)
    backbone = model.backbone
    norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(module, torch.nn.SyncBatchNorm) for module in norms)
    model.train()
    assert all(module.training for module in norms), "norm_eval=False"
    assert all(parameter.requires_grad for parameter in backbone.parameters()), "frozen_stages=-1"
    assert len(backbone.state_dict()) == 318
    heads = getattr(model, "roi_head", model).bbox_head
    for head in heads if isinstance(heads, torch.nn.ModuleList) else [heads]:
        assert head.num_classes == 2
    masks = [part for part in model.modules() if type(part).__name__ == "FCNMaskHead"]
    assert bool(masks) == ("mask" in name)
    assert all(head.conv_logits.out_channels == 2 for head in masks)
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = DATASETS.build(config.train_dataloader.dataset)
        sample = dataset[0]
    assert dataset.metainfo["classes"] == ("red", "green")
    assert len(dataset) == 4 * config.train_dataloader.dataset.get("times", 1)
    # category ids run against the list: labels must follow the list
    record = json.loads((tmp_path / "train.json").read_text())
    names = {category["id"]: category["name"] for category in record["categories"]}
    wanted = [names[a["category_id"]] for a in record["annotations"] if a["image_id"] == sample["data_samples"].img_id]
    labels = sample["data_samples"].gt_instances.labels.tolist()
    assert [dataset.metainfo["classes"][label] for label in labels] == wanted


@pytest.mark.parametrize("name", TRANSFER)
def test_leaves_stay_small(name):
    assert len((ROOT / "configs/transfer" / name).read_text().splitlines()) < 40


def test_one_gpu_variant_steps_like_eight():
    many = load_config(ROOT / "configs/transfer/faster_rcnn_r50_fpn_syncbn_1x_coco.py")
    one = load_config(ROOT / "configs/transfer/faster_rcnn_r50_fpn_syncbn_1x_coco_1gpu.py")
    assert many.train_dataloader.batch_size * 8 == 16
    assert one.train_dataloader.batch_size * one.optim_wrapper.accumulative_counts == 16
    assert one.optim_wrapper.optimizer == many.optim_wrapper.optimizer
    assert one.param_scheduler[0].end == many.param_scheduler[0].end * one.optim_wrapper.accumulative_counts


@pytest.mark.parametrize("kind", ["faster_rcnn", "mask_rcnn"])
def test_custom_config_trains_evaluates_and_is_evaluated_again(kind, tmp_path):
    config = ROOT / f"configs/transfer/{kind}_r50_fpn_custom.py"
    backbone = write_backbone(tmp_path / "backbone.pth")
    options = write_coco(tmp_path) | small_detector_options(backbone) | small_heads(load_config(config))
    runner = train(config, work_dir=str(tmp_path / "run"), options=options)
    assert runner.iter == 2
    log = next((tmp_path / "run").rglob("*.log")).read_text()
    assert "backbone: all 120 parameters and buffers are those of" in log
    assert "Epoch(train) [1][2/2]" in log
    logged = next((tmp_path / "run").glob("*/vis_data/scalars.json")).read_text()
    assert '"coco/bbox_mAP"' in logged, "figures of each run lie in its own folder, one after the other in one process"
    scalars = runner.message_hub.log_scalars
    trained = float(scalars["val/coco/bbox_mAP"].current())
    assert 0 <= trained <= 1
    assert ("val/coco/segm_mAP" in scalars) == (kind == "mask_rcnn")
    checkpoint = tmp_path / "run" / "epoch_1.pth"
    backbone.unlink()  # evaluation takes the checkpoint's weights, not the file that training started from
    metrics = evaluate(config, checkpoint, work_dir=str(tmp_path / "test"), options=options)
    assert metrics["coco/bbox_mAP"] == pytest.approx(trained, abs=2e-3)
    assert json.loads((tmp_path / "test" / "metrics.json").read_text()) == metrics


def test_evaluating_a_checkpoint_of_another_model_is_refused(tmp_path):
    config = ROOT / "configs/transfer/faster_rcnn_r50_fpn_custom.py"
    backbone = write_backbone(tmp_path / "backbone.pth")
    options = write_coco(tmp_path) | small_detector_options(backbone) | small_heads(load_config(config))
    with pytest.raises(InputError, match="missing in the file"):
        evaluate(config, tmp_path / "backbone.pth", work_dir=str(tmp_path / "test"), options=options)
    with pytest.raises(InputError, match=r"load_from: .*no such file"):
        evaluate(config, tmp_path / "none.pth", work_dir=str(tmp_path / "test"), options=options)


def test_a_backbone_of_another_depth_stops_the_run(tmp_path):
    config = ROOT / "configs/transfer/faster_rcnn_r50_fpn_custom.py"
    backbone = write_backbone(tmp_path / "r34.pth", depth=34)
    options = write_coco(tmp_path) | small_detector_options(backbone) | small_heads(load_config(config))
    with pytest.raises(InputError, match=r"unexpected in the file: layer1\.2"):
        train(config, work_dir=str(tmp_path / "run"), options=options)


def test_linear_probe_trains_only_the_head(tmp_path):
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for position, label in enumerate(("cat", "dog")):
            (tmp_path / split / label).mkdir(parents=True)
            for index in range(4):
                image = generator.integers(0, 100, (48, 48, 3), dtype=np.uint8) + np.uint8(100 * position)
                cv2.imwrite(str(tmp_path / split / label / f"{index}.png"), image)
    backbone = write_backbone(tmp_path / "backbone.pth")
    options = {
        "model.backbone.depth": 18,
        "model.backbone.init_cfg.checkpoint": str(backbone),
        "model.head.in_channels": 512,
        "model.head.num_classes": 2,
        "train_dataloader.batch_size": 4,
        "train_cfg.max_epochs": 1,
        "train_cfg.val_interval": 1,
        "train_dataloader.dataset.data_root": str(tmp_path / "train"),
    }
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        options |= {f"{loader}.num_workers": 0, f"{loader}.persistent_workers": False}
    options |= {f"{split}_dataloader.dataset.data_root": str(tmp_path / "val") for split in ("val", "test")}
    config = ROOT / "configs/classify/linear_r50_folder.py"
    runner = train(config, work_dir=str(tmp_path / "run"), options=options)
    assert runner.iter == 2
    wanted = torch.load(backbone, weights_only=True)["state_dict"]
    state = runner.model.backbone.state_dict()
    assert all(torch.equal(state[name], wanted[name]) for name in wanted), "the backbone is frozen, its norm too"
    metrics = evaluate(config, tmp_path / "run" / "epoch_1.pth", work_dir=str(tmp_path / "test"), options=options)
    assert 0 <= metrics["accuracy/top1"] <= 100


def test_chosen_classes_keep_the_files_order_and_leave_the_others_out(tmp_path):
    options = write_coco(tmp_path, ("red", "green", "blue")) | {"dataset_from_json.classes": ["blue", "red"]}
    config = load_config(ROOT / "configs/transfer/mask_rcnn_r50_fpn_custom.py", options)
    apply_dataset_from_json(config)
    assert config.model.roi_head.bbox_head.num_classes == config.model.roi_head.mask_head.num_classes == 2
    register_scope("mmdet")
    from mmdet.registry import DATASETS

    dataset = DATASETS.build(dict(config.train_dataloader.dataset, pipeline=[]))
    content = json.loads((tmp_path / "train.json").read_text())
    label_of = {category["id"]: {"red": 0, "blue": 1}.get(category["name"]) for category in content["categories"]}
    for index in range(len(dataset)):
        record = dataset.get_data_info(index)
        expected = [
            (label_of[annotation["category_id"]], annotation["bbox"][:2])
            for annotation in content["annotations"]
            if annotation["image_id"] == record["img_id"] and label_of[annotation["category_id"]] is not None
        ]
        assert [(item["bbox_label"], item["bbox"][:2]) for item in record["instances"]] == expected
    assert len(dataset) == 4
    assert dataset.metainfo["classes"] == ("red", "blue")


def edited(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("split", "change", "message"),
    [
        ("train", lambda c: c.update(images=[]), r"train\.json: has no 'images'"),
        ("train", lambda c: c.update(annotations=[]), r"train\.json: has no 'annotations'"),
        ("val", lambda c: c["categories"].reverse(), "another order"),
        ("val", lambda c: c["categories"].append(dict(id=3, name="blue")), r"only in .*val\.json: \['blue'\]"),
        ("train", lambda c: c["categories"].append(dict(id=3, name="red")), "distinct names"),
        ("val", lambda c: c["images"][0].update(file_name="gone.jpg"), r"image 'gone\.jpg' is not in"),
        ("train", lambda c: [a.update(segmentation=[]) for a in c["annotations"]], "no annotation has a segmentation"),
        ("val", lambda c: [a.update(category_id=7) for a in c["annotations"]], "has a category_id that no category has"),
    ],
)
def test_unusable_json_is_named(tmp_path, split, change, message):
    options = write_coco(tmp_path)
    edited(tmp_path / f"{split}.json", change)
    config = load_config(ROOT / "configs/transfer/mask_rcnn_r50_fpn_custom.py", options)
    with pytest.raises(InputError, match=message):
        apply_dataset_from_json(config)


@pytest.mark.parametrize(
    ("classes", "message"),
    [(["gren"], r"train\.json has no category 'gren'\. Did you mean green\?"), ([], r"classes: is empty")],
)
def test_classes_that_cannot_be_chosen_are_named(tmp_path, classes, message):
    options = write_coco(tmp_path) | {"dataset_from_json.classes": classes}
    config = load_config(ROOT / "configs/transfer/faster_rcnn_r50_fpn_custom.py", options)
    with pytest.raises(InputError, match=message):
        apply_dataset_from_json(config)


def test_absent_files_of_the_custom_config_are_named(tmp_path):
    config = ROOT / "configs/transfer/faster_rcnn_r50_fpn_custom.py"
    with pytest.raises(InputError, match=r"dataset_from_json\.train: data/custom/train\.json does not exist"):
        apply_dataset_from_json(load_config(config))
    options = write_coco(tmp_path) | {"dataset_from_json.images": str(tmp_path / "none")}
    with pytest.raises(InputError, match=r"dataset_from_json\.images"):
        apply_dataset_from_json(load_config(config, options))
    options = write_coco(tmp_path)
    (tmp_path / "train.json").write_text("not json")
    with pytest.raises(InputError, match=r"train\.json: is not a json file"):
        apply_dataset_from_json(load_config(config, options))


def test_configs_name_no_machine():
    for path in [*(ROOT / "configs/transfer").rglob("*.py"), *(ROOT / "configs/classify").rglob("*.py")]:
        strings = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        assert not any(isinstance(value, str) and value.startswith("/") for value in strings), path
