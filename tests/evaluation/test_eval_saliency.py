"""``eval-saliency`` from files to a table."""
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmsscl import cli
from mmsscl.errors import InputError
from mmsscl.evaluation.eval_saliency import eval_saliency, format_report
from mmsscl.evaluation.labelled_photos import boxed_photos, masked_photos
from mmsscl.evaluation.network_maps import Extraction, extraction_of, load_network, photo_maps, read_photo
from mmsscl.registry import MODELS
from mmsscl.saliency.estimators import ActivationSaliency
from mmsscl.saliency.extract import extract_maps, squash_image
from mmsscl.saliency.normalise import resize_maps
from mmsscl.zoo.safe_load import load_checkpoint
from tests.sample_runs import write_coco, write_pretraining_config

EXTRACT = ["--estimator", "ActivationSaliency", "--image-size", "64", "--device", "cpu"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny config, a checkpoint of it with different branches, and photos with masks and boxes."""
    folder = tmp_path_factory.mktemp("eval_saliency")
    config = write_pretraining_config(folder)
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    model.init_weights()
    for parameter in model.target.parameters():
        parameter.data += 0.01
    torch.save(dict(state_dict=model.state_dict()), folder / "epoch_1.pth")
    torch.save(dict(state_dict=model.backbone.state_dict()), folder / "backbone.pth")
    write_coco(folder / "coco", count=5)
    masks = folder / "masks"
    masks.mkdir()
    for path in sorted((folder / "coco" / "images").iterdir()):
        mask = np.where(cv2.imread(str(path)).max(2) > 120, 255, 0).astype(np.uint8)
        cv2.imwrite(str(masks / f"{path.stem}.png"), mask)
    return dict(folder=folder, config=config, checkpoint=folder / "epoch_1.pth", images=folder / "coco" / "images",
                masks=masks, json=folder / "coco" / "train.json")  # fmt: skip


def test_masks_give_a_table_and_a_json(run: dict[str, Path], capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    out = tmp_path / "new" / "scores.json"
    command = ["eval-saliency", run["config"], run["checkpoint"], "--images", run["images"], "--masks", run["masks"]]
    assert cli.main([*map(str, command), *EXTRACT, "--out", str(out)]) == 0
    table = capsys.readouterr().out
    report = json.loads(out.read_text())
    names = ["epoch_1", "epoch_1, shuffled", "centred Gaussian", "uniform"]
    assert [row["name"] for row in report["maps"]] == names
    assert report["images"] == 5
    uniform = report["maps"][3]
    assert (uniform["mae"], uniform["auc"], uniform["trust"]) == (0.5, 0.5, None)
    for row in report["maps"]:
        assert f"{row['max_f']:.4f}" in table
        assert row["name"] in table
    assert report["settings"]["image_size"] == 64
    assert table == format_report(report) + "\n"


def test_boxes_give_corloc_and_mass(run: dict[str, Path]) -> None:
    photos = boxed_photos(run["images"], run["json"])
    report = eval_saliency(run["config"], [run["checkpoint"]], photos, "ActivationSaliency", device="cpu", image_size=64)
    shares = []
    for record in json.loads(run["json"].read_text())["images"]:
        covered = np.zeros((96, 96), bool)
        for annotation in json.loads(run["json"].read_text())["annotations"]:
            if annotation["image_id"] == record["id"]:
                x, y, w, h = annotation["bbox"]
                covered[y : y + h, x : x + w] = True
        shares.append(covered.mean())
    uniform = report["maps"][-1]
    assert uniform["mass_inside"] == pytest.approx(np.mean(shares), rel=1e-5)
    assert 0 <= report["maps"][0]["corloc"] <= 1


def test_maps_are_those_of_the_branch_as_the_refresh_makes_them(run: dict[str, Path]) -> None:
    config = Config.fromfile(run["config"])
    model = MODELS.build(config.model)
    model.load_state_dict(load_checkpoint(run["checkpoint"])["state_dict"])
    model.eval()
    paths = sorted(str(path) for path in run["images"].iterdir())
    extraction = Extraction(dict(type="ActivationSaliency"), image_size=64, map_size=3, batch_size=2)
    pixels = torch.stack([squash_image(read_photo(path), 64) for path in paths])
    images = (pixels.float() - model.data_preprocessor.mean) / model.data_preprocessor.std
    found = {}
    for branch, parts in (("target", model.target), ("online", {"backbone": model.backbone, "neck": model.neck})):
        network = load_network(config, run["checkpoint"], branch)
        maps, trust = photo_maps(network, ActivationSaliency(), extraction, paths)
        expected, expected_trust = extract_maps(parts["backbone"], parts["neck"], ActivationSaliency(), images)
        np.testing.assert_allclose(maps, resize_maps(expected, 3).numpy(), atol=1e-3)
        np.testing.assert_allclose(trust, expected_trust.numpy(), atol=1e-3)
        found[branch] = maps
    assert np.abs(found["target"] - found["online"]).max() > 0.01


def test_a_backbone_file_has_maps_too(run: dict[str, Path]) -> None:
    config = Config.fromfile(run["config"])
    network = load_network(config, run["folder"] / "backbone.pth")
    assert network.neck is None
    whole = load_network(config, run["checkpoint"], "online")
    for one, other in zip(network.backbone.parameters(), whole.backbone.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_hook_says_how_maps_are_made(run: dict[str, Path]) -> None:
    config = Config.fromfile(run["config"])
    with pytest.raises(InputError, match="--estimator ActivationSaliency"):
        extraction_of(config)
    hook = dict(type="SaliencyRefreshHook", estimator=dict(type="ContrastiveCAM", rounds=3), map_size=7, interval=4)
    config.custom_hooks = [dict(type="MomentumUpdateHook"), hook]
    assert extraction_of(config) == Extraction(dict(type="ContrastiveCAM", rounds=3), map_size=7)
    assert extraction_of(config, "ContrastiveCAM", mirror=None).estimator["rounds"] == 3
    changed = extraction_of(config, "SpectralSaliency", image_size=96, mirror=False)
    assert changed == Extraction(dict(type="SpectralSaliency"), image_size=96, map_size=7, mirror=False)
    with pytest.raises(InputError, match="batch_size=0"):
        extraction_of(config, batch_size=0)


def test_files_that_do_not_fit(run: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def message(checkpoint: Path = run["checkpoint"], masks: Path = run["masks"], *more: Any) -> str:
        line = ["eval-saliency", run["config"], checkpoint, "--images", run["images"], "--masks", masks, *EXTRACT, *more]
        assert cli.main([str(word) for word in line]) == 2
        return capsys.readouterr().err

    tensors = load_checkpoint(run["checkpoint"])["state_dict"]
    torch.save(dict(state_dict={key: value for key, value in tensors.items() if "conv1" not in key}), tmp_path / "x.pth")
    assert "missing in the file: conv1.weight" in message(tmp_path / "x.pth")
    online = {key: value for key, value in tensors.items() if not key.startswith("target.")}
    torch.save(dict(state_dict=online), tmp_path / "online.pth")
    assert "--branch online" in message(tmp_path / "online.pth")
    assert "no such file" in message(tmp_path / "absent.pth")
    assert "no such folder" in message(run["checkpoint"], tmp_path / "absent")
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "0.png").write_bytes((run["masks"] / "0.png").read_bytes())
    assert "4 of 5 photos have no mask" in message(run["checkpoint"], tmp_path / "few")
    assert "Activation" in message(run["checkpoint"], run["masks"], "--estimator", "ActivatonSaliency")
    assert "--max-images 0" in message(run["checkpoint"], run["masks"], "--max-images", "0")


@pytest.mark.parametrize(
    ("pixels", "text"),
    [(np.ones((96, 96), np.uint8), "largest value is 1"), (np.zeros((96, 90), np.uint8), "90 x 96")],
)
def test_masks_of_another_kind(run: dict[str, Path], tmp_path: Path, pixels: np.ndarray, text: str) -> None:
    for path in run["images"].iterdir():
        cv2.imwrite(str(tmp_path / f"{path.stem}.png"), pixels)
    photos = masked_photos(run["images"], tmp_path)
    with pytest.raises(InputError, match=text):
        photos.mask(0)
    photos.masks[0].write_bytes(b"")
    with pytest.raises(InputError, match="not a readable mask"):
        photos.mask(0)


def test_a_json_for_other_photos_or_without_objects(run: dict[str, Path], tmp_path: Path) -> None:
    content = json.loads(run["json"].read_text())

    def write(**changes: Any) -> Path:
        file = tmp_path / "x.json"
        file.write_text(json.dumps(content | changes))
        return file

    images = [dict(record, width=50) for record in content["images"]]
    with pytest.raises(InputError, match="50 x 96"):
        boxed_photos(run["images"], write(images=images))
    with pytest.raises(InputError, match="annotations"):
        boxed_photos(run["images"], write(annotations=None))
    with pytest.raises(InputError, match=r"annotations\[0\]"):
        boxed_photos(run["images"], write(annotations=[dict(image_id=1)]))
    crowd = dict(content["annotations"][0], iscrowd=1)
    outside = dict(content["annotations"][1], bbox=[90, 90, 50, 50])
    flat = dict(content["annotations"][1], bbox=[3, 3, 0, 9])
    photos = boxed_photos(run["images"], write(annotations=[crowd, outside, flat]))
    np.testing.assert_array_equal(photos.boxes[0], [[90, 90, 96, 96]])
    with pytest.raises(InputError, match="none of the 5 photos"):
        eval_saliency(
            run["config"], [run["checkpoint"]], boxed_photos(run["images"], write(annotations=[])),
            "ActivationSaliency", device="cpu", image_size=64,
        )  # fmt: skip


def test_photos_are_spread_over_the_folder(run: dict[str, Path]) -> None:
    assert [Path(path).stem for path in masked_photos(run["images"], run["masks"], 3).paths] == ["0", "2", "4"]
