"""``predict`` draws a detector's predictions on a folder of photos."""
import argparse
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

import mmsscl  # noqa: F401 (serves mmcv's compiled operators)
from mmsscl.datasets.toy_scenes import write_toy_scenes
from mmsscl.errors import InputError
from mmsscl.visualization.canvas import distinct_colors
from mmsscl.visualization.detections import draw_detections
from mmsscl.visualization.predict import add_arguments, build_detector, main, predict

pytest.importorskip("mmdet")

CONFIG = """
_base_ = ["mmdet::_base_/models/faster-rcnn_r50_fpn.py", "mmdet::_base_/default_runtime.py"]
model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(depth=18, base_channels=8, init_cfg=dict(type="Pretrained", checkpoint="gone.pth")),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=32, num_classes=3)),
    test_cfg=dict(rpn=dict(nms_pre=100, max_per_img=50), rcnn=dict(score_thr=0.0, max_per_img=20)))
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(192, 192), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
test_dataloader = dict(dataset=dict(type="CocoDataset", metainfo=dict(classes=("a", "b", "c")), pipeline=test_pipeline))
"""


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """Config, checkpoint of a random detector, folder with three photos, one of them in a subfolder."""
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    root = tmp_path_factory.mktemp("predict")
    folder = write_toy_scenes(root / "toy", val=2, unlabeled=1, size=96).root
    photos = root / "photos"
    (photos / "more").mkdir(parents=True)
    for number in range(2):
        (photos / f"{number}.jpg").write_bytes((folder / "val" / f"{number:06d}.jpg").read_bytes())
    wide = cv2.resize(cv2.imread(str(folder / "unlabeled" / "000000.jpg")), (150, 100))
    cv2.imwrite(str(photos / "more" / "0.png"), wide)
    config = root / "config.py"
    config.write_text(CONFIG)
    register_all_modules(init_default_scope=True)
    torch.manual_seed(0)
    model_config = Config.fromfile(config).model
    model_config.backbone.init_cfg = None
    state = MODELS.build(model_config).state_dict()
    meta = {"dataset_meta": {"classes": ("disc", "square", "triangle")}}
    torch.save({"state_dict": state, "meta": meta}, root / "detector.pth")
    return str(config), str(root / "detector.pth"), str(photos)


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([*words, "--device", "cpu"])


def test_pictures_are_written(setup: tuple[str, str, str], tmp_path: Path) -> None:
    assert main(arguments(*setup, "--out", str(tmp_path / "out"), "--score-thr", "0")) == 0
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png"))
    assert written == ["0_jpg.png", "1_jpg.png", "contact_sheet.png", "more/0_png.png"]
    assert max(cv2.imread(str(tmp_path / "out" / "more/0_png.png")).shape) == 800

    assert main(arguments(*setup, "--out", str(tmp_path / "one"), "--max-images", "1")) == 0
    assert sorted(path.name for path in (tmp_path / "one").rglob("*.png")) == ["0_jpg.png", "contact_sheet.png"]


def test_predictions_equal_those_of_mmdet(setup: tuple[str, str, str]) -> None:
    from mmdet.apis import inference_detector

    config = Config.fromfile(setup[0])
    detector = build_detector(config, setup[1])
    assert detector.dataset_meta["classes"] == ("disc", "square", "triangle")
    paths = [f"{setup[2]}/1.jpg", f"{setup[2]}/more/0.png"]
    detector.cfg = config
    for found, path in zip(predict(detector, config, paths, score_thr=0.0), paths):
        expected = inference_detector(detector, path).pred_instances
        assert len(expected) > 0
        np.testing.assert_allclose(found.boxes, expected.bboxes.numpy(), atol=1e-4)
        np.testing.assert_allclose(found.scores, expected.scores.numpy(), atol=1e-6)
        np.testing.assert_array_equal(found.labels, expected.labels.numpy())
        assert found.image.shape[:2] == ((96, 96) if path.endswith("jpg") else (100, 150))
        assert found.boxes[:, 2].max() <= found.image.shape[1]
        middle = float(np.median(found.scores))
        kept = next(iter(predict(detector, config, [path], score_thr=middle)))
        assert len(kept.scores) == (found.scores >= middle).sum() < len(found.scores)


def test_unreadable_photo_is_left_out(setup: tuple[str, str, str], tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "bad.jpg").write_text("no image")
    with pytest.raises(InputError, match="none of its 1 photos can be read"):
        main(arguments(setup[0], setup[1], str(photos), "--out", str(tmp_path / "none")))
    (photos / "good.jpg").write_bytes((Path(setup[2]) / "0.jpg").read_bytes())
    assert main(arguments(setup[0], setup[1], str(photos), "--out", str(tmp_path / "out"))) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["contact_sheet.png", "good_jpg.png"]


def test_bad_folder_and_options(setup: tuple[str, str, str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"absent: no such folder"):
        main(arguments(setup[0], setup[1], str(tmp_path / "absent")))
    with pytest.raises(InputError, match=r"empty: no images"):
        main(arguments(setup[0], setup[1], str(tmp_path / "empty")))
    with pytest.raises(InputError, match="--score-thr 3"):
        main(arguments(*setup, "--score-thr", "3"))
    with pytest.raises(InputError, match="--max-images 0"):
        main(arguments(*setup, "--max-images", "0"))


def test_wrong_checkpoints(setup: tuple[str, str, str], tmp_path: Path) -> None:
    config = Config.fromfile(setup[0])
    with pytest.raises(InputError, match=r"none\.pth"):
        build_detector(config, str(tmp_path / "none.pth"))
    text = tmp_path / "text.pth"
    text.write_text("hello")
    with pytest.raises(InputError, match="text file"):
        build_detector(config, str(text))

    content = torch.load(setup[1], weights_only=True)
    backbone = {k.removeprefix("backbone."): v for k, v in content["state_dict"].items() if k.startswith("backbone.")}
    torch.save({"state_dict": backbone, "meta": {}}, tmp_path / "backbone.pth")
    with pytest.raises(InputError, match=r"backbone\.pth.*missing.*backbone only"):
        build_detector(config, str(tmp_path / "backbone.pth"))

    wider = Config.fromfile(setup[0])
    wider.merge_from_dict({"model.roi_head.bbox_head.num_classes": 7})
    with pytest.raises(InputError, match=r"of another shape: .*model"):
        build_detector(wider, setup[1])


def test_config_of_another_kind(setup: tuple[str, str, str]) -> None:
    config = Config({"default_scope": "mmsscl", "model": {"type": "SCRL", "head": {}}})
    with pytest.raises(InputError, match="not a detector"):
        build_detector(config, setup[1])


def test_class_names_without_the_checkpoint_s(setup: tuple[str, str, str], tmp_path: Path) -> None:
    content = torch.load(setup[1], weights_only=True)
    torch.save({"state_dict": content["state_dict"]}, tmp_path / "plain.pth")
    config = Config.fromfile(setup[0])
    assert build_detector(config, str(tmp_path / "plain.pth")).dataset_meta["classes"] == ("a", "b", "c")


def test_number_of_classes_from_the_checkpoint_for_a_config_of_one_s_own_json(setup: tuple[str, str, str]) -> None:
    config = Config.fromfile(setup[0])
    config.merge_from_dict({"model.roi_head.bbox_head.num_classes": 80, "dataset_from_json": {"train": "gone.json"}})
    assert build_detector(config, setup[1]).roi_head.bbox_head.num_classes == 3


def test_drawing_boxes_and_masks() -> None:
    image = np.full((100, 100, 3), 100, np.uint8)
    mask = np.zeros((1, 100, 100), bool)
    mask[0, 40:60, 40:60] = True
    picture = draw_detections(
        image, np.array([[30, 30, 70, 70.0]]), np.array([1]), np.array([0.9]), ("x", "y"), mask, side=200
    )
    color = distinct_colors(2)[1]
    assert picture.shape == (200, 200, 3)
    assert (picture[139, 70:140] == color).all()
    np.testing.assert_array_equal(picture[100, 100], (0.55 * 100 + 0.45 * color).astype(np.uint8))
    assert (picture[125, 125] == 100).all()
    nothing = draw_detections(image, np.zeros((0, 4)), np.zeros(0, int), np.zeros(0), (), side=100)
    np.testing.assert_array_equal(nothing, image)
    beyond = draw_detections(image, np.array([[30, 30, 70, 70.0]]), np.array([5]), np.array([0.5]), (), side=100)
    assert (beyond != image).any()
