"""``eval saliency`` from files to a table."""
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmsscl import cli
from mmsscl.datasets.transforms.load_saliency import partners
from mmsscl.datasets.transforms.loading import read_photo
from mmsscl.engine.hooks import SaliencyRefreshHook
from mmsscl.errors import InputError
from mmsscl.evaluation.eval_saliency import eval_saliency, format_report
from mmsscl.evaluation.labelled_photos import MaskedPhotos, boxed_photos, masked_photos
from mmsscl.evaluation.network_maps import Extraction, extraction_of, load_network, photo_maps
from mmsscl.evaluation.saliency_quality import BoxQuality, MaskQuality
from mmsscl.registry import MODELS
from mmsscl.saliency.estimators import DEFAULT_ESTIMATOR, ActivationSaliency
from mmsscl.saliency.extract import extract_maps, squash_image
from mmsscl.saliency.normalise import resize_maps
from mmsscl.short_names import short_names
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


def rows_by_hand(run: dict[str, Path], meter: type, feed: Callable[[Any, np.ndarray, int], None]) -> list[dict[str, Any]]:
    """Scores and trust of each row, kind by kind: the checkpoint's maps, these exchanged, a Gaussian, a constant."""
    extraction = Extraction(dict(type="ActivationSaliency"), image_size=64)
    network = load_network(Config.fromfile(run["config"]), run["checkpoint"])
    paths = [str(run["images"] / f"{index}.jpg") for index in range(5)]
    maps, trust = photo_maps(network, ActivationSaliency(), extraction, paths)
    exchange = partners(5, seed=0)
    assert not (exchange == np.arange(5)).any()
    offsets = (np.arange(14) + 0.5) / 14 - 0.5
    gaussian = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 0.25**2))
    kinds = [maps, np.stack([maps[index] for index in exchange]), np.stack([gaussian] * 5), np.full((5, 14, 14), 0.5)]
    rows = []
    for values, mean_trust in zip(kinds, [trust.mean(), None, None, None], strict=True):
        quality = meter()
        for index in range(5):
            feed(quality, values[index], index)
        rows.append(quality.compute() | dict(trust=mean_trust))
    return rows


def same_rows(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert [row["name"] for row in found] == ["epoch_1", "epoch_1, shuffled", "centred Gaussian", "uniform"]
    for row, expected in zip(found, wanted, strict=True):
        assert {key: value for key, value in row.items() if key != "name"} == pytest.approx(expected, abs=1e-5), row["name"]


def test_masks_give_a_table_and_a_json(run: dict[str, Path], capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    out = tmp_path / "new" / "scores.json"
    command = ["eval", "saliency", run["config"], run["checkpoint"], "--images", run["images"], "--masks", run["masks"]]
    assert cli.main([*map(str, command), *EXTRACT, "--out", str(out)]) == 0
    table = capsys.readouterr().out
    report = json.loads(out.read_text())

    def feed(quality: MaskQuality, values: np.ndarray, index: int) -> None:
        quality.update(values, cv2.imread(str(run["masks"] / f"{index}.png"), cv2.IMREAD_GRAYSCALE) > 127)

    wanted = rows_by_hand(run, MaskQuality, feed)
    same_rows(report["maps"], wanted)
    # the four kinds must differ for this to tell them apart
    assert len({round(row["mae"], 4) for row in wanted}) == 4
    assert (report["images"], report["settings"]["image_size"], report["settings"]["sources"]) == (5, 64, ["target"])
    assert table == format_report(report) + "\n"
    lines = table.splitlines()
    assert lines[0].split() == ["mae", "max_f", "auc", "pointing", "trust"]
    for line, row in zip(lines[1:5], wanted, strict=True):
        assert line.split()[-5:-1] == [f"{row[key]:.4f}" for key in ("mae", "max_f", "auc", "pointing")]
    assert lines[3].split()[-1] == "-"


def test_boxes_give_corloc_and_mass(run: dict[str, Path]) -> None:
    photos = boxed_photos(run["images"], run["json"])
    report = eval_saliency(run["config"], [run["checkpoint"]], photos, "ActivationSaliency", device="cpu", image_size=64)
    content = json.loads(run["json"].read_text())

    def feed(quality: BoxQuality, values: np.ndarray, index: int) -> None:
        boxes = np.array([each["bbox"] for each in content["annotations"] if each["image_id"] == index + 1], float)
        boxes[:, 2:] += boxes[:, :2]
        quality.update(values, boxes, (96, 96))

    wanted = rows_by_hand(run, BoxQuality, feed)
    same_rows(report["maps"], wanted)
    assert len({round(row["mass_inside"], 5) for row in wanted}) == 4
    assert "corloc, corloc_part, mass_inside: higher is better." in format_report(report)


def test_other_checkpoints_are_compared_with_the_first(run: dict[str, Path]) -> None:
    photos = masked_photos(run["images"], run["masks"])
    files = [run["checkpoint"], run["folder"] / "backbone.pth"]
    report = eval_saliency(run["config"], files, photos, "ActivationSaliency", device="cpu", image_size=64)
    rows = {row["name"]: row for row in report["maps"]}
    (found,) = report["differences"]
    assert (found["name"], found["from"], found["photos"]) == ("backbone (backbone file)", "epoch_1", 5)
    for score in ("mae", "max_f", "auc", "pointing"):
        values = found["scores"][score]
        assert values["difference"] == pytest.approx(rows[found["name"]][score] - rows["epoch_1"][score])
        assert values["low"] <= values["difference"] <= values["high"]
    assert found["scores"]["mae"]["low"] < found["scores"]["mae"]["high"]
    text = format_report(report)
    assert "difference from epoch_1 [95 % of 2000 resamplings of the 5 photos]:" in text
    assert text.splitlines()[-2].split() == ["mae", "max_f", "auc", "pointing"]


def test_scores_that_no_photo_has_are_null(run: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "masks").mkdir()
    for index in range(5):
        cv2.imwrite(str(tmp_path / "masks" / f"{index}.png"), np.full((96, 96), 255, np.uint8))
    command = ["eval", "saliency", run["config"], run["checkpoint"], run["folder"] / "backbone.pth"]
    command += ["--images", run["images"], "--masks", tmp_path / "masks"]
    assert cli.main([*map(str, command), *EXTRACT, "--out", str(tmp_path / "scores.json")]) == 0

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    report = json.loads((tmp_path / "scores.json").read_text(), parse_constant=refuse)
    assert [row["auc"] for row in report["maps"]] == [None] * 6
    assert [row["pointing"] for row in report["maps"]] == [1.0] * 6
    assert report["differences"][0]["scores"]["auc"] == {"difference": None, "low": None, "high": None}
    assert capsys.readouterr().out.splitlines()[1].split()[-3] == "-"


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
    assert (network.source, load_network(config, run["checkpoint"]).source) == ("backbone file", "target")
    whole = load_network(config, run["checkpoint"], "online")
    for one, other in zip(network.backbone.parameters(), whole.backbone.parameters(), strict=True):
        assert torch.equal(one, other)
    report = eval_saliency(
        run["config"], [run["checkpoint"], run["folder"] / "backbone.pth"], masked_photos(run["images"], run["masks"], 2),
        "ActivationSaliency", device="cpu", image_size=64,
    )  # fmt: skip
    assert report["maps"][2]["name"] == "backbone (backbone file)"
    assert report["settings"]["sources"] == ["target", "backbone file"]
    assert "ActivationSaliency, target, backbone file, 64 px" in format_report(report)


def test_the_hook_says_how_maps_are_made(run: dict[str, Path]) -> None:
    config = Config.fromfile(run["config"])
    with pytest.raises(InputError, match=f"--estimator {DEFAULT_ESTIMATOR['type']} "):
        extraction_of(config)
    hook = dict(type="SaliencyRefreshHook", estimator=dict(type="ContrastiveCAM", rounds=3), map_size=7, interval=4)
    config.custom_hooks = [dict(type="MomentumUpdateHook"), hook]
    assert extraction_of(config) == Extraction(dict(type="ContrastiveCAM", rounds=3), map_size=7)
    assert extraction_of(config, "ContrastiveCAM", mirror=None).estimator["rounds"] == 3
    changed = extraction_of(config, "SpectralSaliency", image_size=96, mirror=False)
    assert changed == Extraction(dict(type="SpectralSaliency"), image_size=96, map_size=7, mirror=False)
    with pytest.raises(InputError, match="batch_size=0"):
        extraction_of(config, batch_size=0)


def test_defaults_are_the_hooks(run: dict[str, Path]) -> None:
    config = Config.fromfile(run["config"])
    hook = SaliencyRefreshHook()
    sizes = {key: getattr(hook, key) for key in ("image_size", "map_size", "batch_size", "mirror")}
    assert hook.estimator_cfg == DEFAULT_ESTIMATOR
    for written in (dict(type="SaliencyRefreshHook"), dict(type="mmsscl.SaliencyRefreshHook", estimator=None)):
        config.custom_hooks = [written]
        assert extraction_of(config) == Extraction(hook.estimator_cfg, **sizes)


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["epoch_1.pth", "epoch_2.pth"], ["epoch_1", "epoch_2"]),
        (["a/run/e.pth", "b/run/e.pth", "b/run/f.pth"], ["a/run/e", "b/run/e", "f"]),
        (["a/e.pth", "b/e.pth", "a/e.pth"], ["a/e", "b/e", "a/e (2)"]),
        (["a/e.pth", "a/e.pt"], ["e.pth", "e.pt"]),
        (["x/../a/e.pth", "a/e.pth"], ["e", "e (2)"]),
        (["/e.pth", "/a/e.pth"], ["/e", "a/e"]),
    ],
)
def test_short_names_tell_files_apart(files: list[str], names: list[str]) -> None:
    assert short_names(files) == names


def test_files_that_do_not_fit(run: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def message(checkpoint: Path = run["checkpoint"], masks: Path = run["masks"], *more: Any) -> str:
        line = ["eval", "saliency", run["config"], checkpoint, "--images", run["images"], "--masks", masks, *EXTRACT, *more]
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
    (tmp_path / "file").write_text("")
    for words, text in (
        (["--out", tmp_path / "file" / "scores.json"], "file cannot be written to"),
        (["--out", tmp_path], "is a folder"),
        (["--device", "gpu"], "--device gpu: cannot be used"),
        (["--device", "meta"], "--device meta: cannot be used"),
        (["--device", f"cuda:{torch.cuda.device_count()}"], "Here: cpu"),
    ):
        # before anything is read: the checkpoint's absence does not show
        assert text in message(tmp_path / "absent.pth", run["masks"], *words)


def with_value(value: Any, share: float = 1.0) -> np.ndarray:
    """White above, black below, and a value at a share of the pixels."""
    pixels = np.zeros((96, 96, *np.shape(value)), np.uint8)
    pixels[:40] = 255
    pixels[40 : 40 + round(96 * share / 2), :] = value
    return pixels


@pytest.mark.parametrize(
    ("pixels", "text"),
    [
        (np.ones((96, 96), np.uint8), "largest value is 1;"),
        (np.full((96, 96), 100, np.uint8), "largest value is 100;"),
        (np.zeros((96, 90), np.uint8), "90 x 96"),
        (with_value(128, 0.2), "10% of its pixels are gray"),
        (with_value((0, 0, 255), 0.03), "it is colored"),
    ],
)
def test_masks_of_another_kind(run: dict[str, Path], tmp_path: Path, pixels: np.ndarray, text: str) -> None:
    for path in run["images"].iterdir():
        cv2.imwrite(str(tmp_path / f"{path.stem}.png"), pixels)
    photos = masked_photos(run["images"], tmp_path)
    with pytest.raises(InputError, match=text) as error:
        photos.mask(0)
    assert str(photos.masks[0]) in str(error.value)
    photos.masks[0].write_bytes(b"")
    with pytest.raises(InputError, match="not a readable mask"):
        photos.mask(0)


def test_soft_edges_and_jpeg_masks_are_black_and_white(run: dict[str, Path], tmp_path: Path) -> None:
    rows = np.arange(96)[:, None].repeat(96, 1)
    for name, pixels, white in (("0.png", with_value(128, 0.08), 44), ("1.jpg", with_value((0, 0, 0)), 40)):
        cv2.imwrite(str(tmp_path / name), pixels)
        photos = MaskedPhotos([str(run["images"] / "0.jpg")], [tmp_path / name])
        np.testing.assert_array_equal(photos.mask(0), rows < white)


@pytest.mark.parametrize(
    ("palette", "fine"),
    [([0, 0, 0, 255, 255, 255], True), ([0, 0, 0, 128, 0, 0], False), ([0, 0, 0, 128, 128, 128], False),
     ([224, 224, 192, 0, 0, 0], False)],
)  # fmt: skip
def test_masks_with_a_palette(run: dict[str, Path], tmp_path: Path, palette: list[int], fine: bool) -> None:
    numbers = np.zeros((96, 96), np.uint8)
    numbers[:9, :9] = 1
    image = Image.fromarray(numbers, "P")
    image.putpalette(palette)
    image.save(tmp_path / "0.png")
    photos = MaskedPhotos([str(run["images"] / "0.jpg")], [tmp_path / "0.png"])
    if fine:
        np.testing.assert_array_equal(photos.mask(0), numbers > 0)
    else:
        with pytest.raises(InputError, match=r"0\.png: a palette image"):
            photos.mask(0)


def test_photos_and_masks_in_one_folder_or_nested(run: dict[str, Path], tmp_path: Path) -> None:
    together = tmp_path / "together"
    shutil.copytree(run["images"], together)
    shutil.copytree(run["masks"], together, dirs_exist_ok=True)
    (tmp_path / "link").symlink_to(together)
    nested = tmp_path / "nested"
    shutil.copytree(run["images"], nested)
    shutil.copytree(run["masks"], nested / "masks")
    for images, masks in ((together, together), (together, tmp_path / "link"), (nested, nested / "masks")):
        found = masked_photos(images, masks)
        assert found.paths == [str(images / f"{index}.jpg") for index in range(5)]
        assert found.masks == [masks / f"{index}.png" for index in range(5)]
    (together / "2.png").unlink()
    with pytest.raises(InputError, match=r"1 of 5 photos have no mask, first .*2\.jpg"):
        masked_photos(together, together)
    # a JPEG beside a JPEG is another photo
    shutil.copy(together / "1.jpg", together / "2.jpeg")
    with pytest.raises(InputError, match="2 of 6 photos have no mask"):
        masked_photos(together, together)


def test_two_masks_of_one_name(run: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(run["masks"], tmp_path / "masks")
    shutil.copy(run["images"] / "3.jpg", tmp_path / "masks")
    with pytest.raises(InputError, match=r"masks/3\.jpg and .*masks/3\.png are both named as the photo .*3\.jpg"):
        masked_photos(run["images"], tmp_path / "masks")
    assert len(masked_photos(run["images"], tmp_path / "masks", 2).paths) == 2


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
