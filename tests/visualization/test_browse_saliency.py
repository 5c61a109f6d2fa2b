"""Pictures of saliency: colors at the right place, crops counted as brute force counts them, files written."""
import argparse
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmsscl import cli
from mmsscl.datasets import SceneImages
from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.datasets.transforms.loading import read_photo
from mmsscl.datasets.transforms.spatial_consistent_pair import crop_iou
from mmsscl.errors import InputError
from mmsscl.evaluation.network_maps import extraction_of, load_network, photo_maps
from mmsscl.registry import MODELS
from mmsscl.saliency.estimators import ActivationSaliency
from mmsscl.saliency.history import append_history
from mmsscl.saliency.store import SaliencyStore, dataset_fingerprint
from mmsscl.visualization import crop_heat
from mmsscl.visualization.browse_saliency import MapColumn, add_arguments, draw_photos, main
from mmsscl.visualization.canvas import beside
from mmsscl.visualization.crop_heat import GUIDED, LOCAL, PLAIN, draw_crops, guiding_map
from mmsscl.visualization.saliency_overlay import at_height, captioned, crop_coverage, draw_heat, heat_colors
from tests.sample_runs import write_photos, write_pretraining_config


def guided_pipeline(source: str = "store", local: bool = True, crop: str = "SaliencyCrop", **pair_options) -> list[dict]:
    law = dict(type="SaliencyCrop", area=(0.05, 0.1), lambda_max=1.0)
    if crop != "SaliencyCrop":
        law = dict(type=crop, area=(0.05, 0.1))
    pair = dict(
        type="SpatialConsistentPair", size=32, views=[law] * 2, boxes=dict(type="WholeViewBox"), **pair_options
    )  # fmt: skip
    steps = [dict(type="LoadSceneImage"), dict(type="LoadSaliency", source=source), pair]
    return steps + ([dict(type="LocalCrops", number=2, size=16)] if local else [])


def column(values: np.ndarray, trust: float = 1.0, count: int = 2, name: str = "epoch_3") -> MapColumn:
    return MapColumn(name, np.stack([values] * count).astype(np.float32), np.full(count, trust, np.float32))


CORNER = np.zeros((7, 7), np.float32)
CORNER[:2, 5:] = 1.0


def test_coverage_counts_cells_whose_centre_lies_in_a_crop() -> None:
    generator = np.random.default_rng(0)
    corner = generator.integers(0, 40, (25, 2))
    crops = np.concatenate([corner, generator.integers(1, 20, (25, 2))], 1).astype(float)
    coverage = crop_coverage(crops, (60, 61), (9, 13))
    expected = np.zeros((9, 13))
    for row in range(9):
        for cell in range(13):
            y, x = (row + 0.5) * 60 / 9, (cell + 0.5) * 61 / 13
            expected[row, cell] = np.mean([left <= x < left + w and top <= y < top + h for left, top, w, h in crops])
    np.testing.assert_allclose(coverage, expected, atol=1e-6)
    np.testing.assert_array_equal(crop_coverage(np.array([[0, 0, 61, 60]]), (60, 61), (4, 4)), np.ones((4, 4)))


def test_heat_lies_where_the_map_is_high() -> None:
    picture = draw_heat(np.full((70, 140, 3), 128, np.uint8), CORNER, height=70, opacity=1.0)
    assert picture.shape == (70, 140, 3)
    red, _, blue = picture[2, 137].astype(int)
    assert red > blue + 80
    red, _, blue = picture[60, 10].astype(int)
    assert blue > red
    assert (heat_colors(np.array([[-1.0, 0.0, 1.0, 2.0]]))[0, ::3] == heat_colors(np.array([[0.0, 1.0]]))[0]).all()


def test_captions_lie_above_and_widen_narrow_pictures() -> None:
    picture = np.full((40, 30, 3), 200, np.uint8)
    taller = captioned(picture, ["a line longer than this picture", ""])
    np.testing.assert_array_equal(taller[-40:, :30], picture)
    assert taller.shape[1] > 200
    ink = np.flatnonzero((taller[:18] > 150).any((0, 2)))
    assert 100 < ink.max() < taller.shape[1] - 1
    assert at_height(np.zeros((10, 900, 3), np.uint8), 60).shape == (60, 240, 3)


def photos_of(tmp_path: Path, count: int = 2, **options) -> SceneImages:
    return SceneImages(data_root=str(write_photos(tmp_path / "photos", count)), pipeline=guided_pipeline(**options))


def test_crops_are_those_of_the_pipeline(tmp_path: Path) -> None:
    data = photos_of(tmp_path, max_iou=0.3)
    encoded = read_photo(data.path(1))
    SaliencyStore.create(tmp_path / "s.bin", dataset_fingerprint(data), count=2, size=7)
    store = SaliencyStore.open(tmp_path / "s.bin", writable=True)
    store.write([1], CORNER[None], np.array([153], np.uint8))
    store.commit(epoch=1)
    crops = draw_crops(data, 1, encoded, CORNER, 0.6, 12)
    assert list(crops) == [PLAIN, GUIDED, LOCAL]
    data.pipeline[1].connect(str(tmp_path / "s.bin"), None, None)
    samples = [data[epoch, 1] for epoch in range(12)]
    np.testing.assert_array_equal(crops[GUIDED], np.concatenate([sample["geometry"] for sample in samples]))
    np.testing.assert_array_equal(crops[LOCAL], np.concatenate([sample["local_geometry"] for sample in samples]))


def test_plain_crops_are_drawn_without_saliency_but_again_where_too_alike(tmp_path: Path) -> None:
    free, limited = photos_of(tmp_path), photos_of(tmp_path, max_iou=0.1)
    encoded, law = read_photo(free.path(0)), free.pipeline[2].crop_laws[0]
    plain, redrawn = (draw_crops(data, 0, encoded, CORNER, 1.0, 60)[PLAIN].reshape(60, 2, 5) for data in (free, limited))
    alike = 0
    for epoch in range(60):
        stream = RandomStreams(free.seed, epoch, 0).stream("crop")
        pair = np.stack([law.sample((96, 96), stream, None) for _ in range(2)])
        np.testing.assert_array_equal(plain[epoch], pair)
        if crop_iou(pair) <= 0.1:
            np.testing.assert_array_equal(redrawn[epoch], pair)
        else:
            alike += 1
            assert crop_iou(redrawn[epoch]) <= 0.1
    assert alike > 0


def test_guided_crops_are_drawn_only_where_a_law_follows_saliency(tmp_path: Path) -> None:
    data = photos_of(tmp_path, crop="RandomAreaCrop")
    encoded = read_photo(data.path(0))
    assert list(draw_crops(data, 0, encoded, CORNER, 1.0, 2)) == [PLAIN, LOCAL]
    assert list(draw_crops(photos_of(tmp_path), 0, encoded, None, 1.0, 2)) == [PLAIN, LOCAL]
    # without LoadSaliency nothing is guided, whatever the laws are
    steps = [step for step in guided_pipeline() if step["type"] != "LoadSaliency"]
    unread = SceneImages(data_root=str(tmp_path / "photos"), pipeline=steps)
    _, lines = captions_of(unread, [column(CORNER)])
    assert [line.split(",")[0] for line in lines[::3]] == ["plain crops", "local crops"]
    assert lines[5] == "unguided"


def captions_of(data: SceneImages, columns: list[MapColumn], draws: int = 9) -> tuple[np.ndarray, list[str]]:
    """The first photo's picture, and the lines over its crops, three a picture, the difference last."""
    lines: list[str] = []

    def keep(picture: np.ndarray, texts: list[str]) -> np.ndarray:
        lines.extend(texts)
        return captioned(picture, texts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crop_heat, "captioned", keep)
        return next(draw_photos(data, np.array([0, 1]), columns, draws)), lines


def test_captions_of_crops_tell_the_mean_inside(tmp_path: Path) -> None:
    data = photos_of(tmp_path)
    values = np.random.default_rng(1).random((7, 7)).astype(np.float32)
    _, lines = captions_of(data, [column(values)])
    crops = draw_crops(data, 0, read_photo(data.path(0)), values, 1.0, 9)
    # a grid fine enough that both cells and pixels are whole in it
    fine = np.kron(values.astype(np.float64), np.ones((96, 96)))
    told = {}
    for kind, boxes in crops.items():
        edges = boxes[:, :4].astype(int) * 7
        told[kind] = np.mean([fine[y : y + h, x : x + w].mean() for x, y, w, h in edges])
    lines[:9:3] = [line.split(", red: ")[0] for line in lines[:9:3]]
    assert lines == [
        PLAIN, f"saliency inside {told[PLAIN]:.3f}", "",
        GUIDED, f"saliency inside {told[GUIDED]:.3f}", "map: epoch_3",
        LOCAL, f"saliency inside {told[LOCAL]:.3f}", "map: epoch_3",
        "guided minus plain", lines[10], "",
    ]  # fmt: skip
    assert told[GUIDED] > told[PLAIN]


def test_each_kind_of_crop_has_its_picture(tmp_path: Path) -> None:
    data = photos_of(tmp_path)
    encoded = read_photo(data.path(0))
    picture, lines = captions_of(data, [column(CORNER)])
    crops = draw_crops(data, 0, encoded, CORNER, 1.0, 9)
    cover = {kind: crop_coverage(each, (96, 96), (48, 48)) for kind, each in crops.items()}
    top = max(cover[PLAIN].max(), cover[GUIDED].max())
    gain = cover[GUIDED] - cover[PLAIN]
    shown = [cover[PLAIN] / top, cover[GUIDED] / top, 0.5 + gain / (2 * np.abs(gain).max())]
    shown.append(cover[LOCAL] / cover[LOCAL].max())
    texts = [lines[0:3], lines[3:6], lines[9:12], lines[6:9]]
    image = encoded.decode()
    row = beside([captioned(draw_heat(image, values), own) for values, own in zip(shown, texts, strict=True)])
    np.testing.assert_array_equal(picture[-294:, : row.shape[1]], row)
    assert lines[10] == f"red: {np.abs(gain).max():+.1%}, green: 0, blue: {-np.abs(gain).max():+.1%}"
    assert [text[0].split(", red: ")[-1] for text in texts[:2]] == [f"{top:.0%} of them"] * 2


@pytest.mark.parametrize(("source", "place"), [("gaussian", (3, 3)), ("shuffled", (6, 0)), ("store", (0, 6))])
def test_controls_are_guided_by_their_own_map(source: str, place: tuple[int, int]) -> None:
    maps = np.stack([CORNER[::-1, ::-1], CORNER])
    guide, _ = guiding_map(source, maps, 1)
    row, cell = np.unravel_index(guide.argmax(), guide.shape)
    assert abs(row - place[0]) <= 1
    assert abs(cell - place[1]) <= 1


def test_a_photo_is_never_its_own_control(tmp_path: Path) -> None:
    maps = np.stack([np.full((2, 2), value) for value in range(4)])
    for position in range(4):
        guide, name = guiding_map("shuffled", maps, position)
        assert (guide != maps[position]).all()
        assert name == "another photo's map"
    data = photos_of(tmp_path, source="shuffled")
    with pytest.raises(InputError, match=r"one photo is shown\. Show two or more"):
        next(draw_photos(data, np.array([0]), [column(CORNER, count=1)], draws=1))
    assert next(draw_photos(data, np.array([0]), [column(CORNER, count=1)], draws=0)).shape[0] == 258


@pytest.mark.parametrize("size", [(2, 600), (600, 2), (1, 1)])
def test_strips_have_pictures_too(tmp_path: Path, size: tuple[int, int]) -> None:
    cv2.imwrite(str(tmp_path / "strip.png"), np.full((*size, 3), 77, np.uint8))
    data = SceneImages(data_root=str(tmp_path), pipeline=guided_pipeline())
    # a crop of a pixel lies between the centres of a heat map's cells
    with np.errstate(all="raise"):
        picture = next(draw_photos(data, np.array([0]), [column(CORNER, count=1)], draws=1))
    assert picture.shape[0] == 258 + 6 + 294
    assert at_height(np.zeros((*size, 3), np.uint8), 240).shape[:2] == (240, {600: 960, 2: 1, 1: 240}[size[1]])


def test_no_trust_no_difference(tmp_path: Path) -> None:
    data = SceneImages(data_root=str(write_photos(tmp_path / "photos", 2)), pipeline=guided_pipeline(local=False))
    flat = next(draw_photos(data, np.array([0]), [column(CORNER, trust=0.0)], draws=20))
    same = next(draw_photos(data, np.array([0]), [column(1 - CORNER, trust=0.0)], draws=20))
    np.testing.assert_array_equal(flat[-240:], same[-240:])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("browse_saliency")
    file = write_pretraining_config(folder, photos=4)
    text = file.read_text()
    start, end = text.index("views = ["), text.index("train_dataloader")
    text = f"{text[:start]}pipeline = {guided_pipeline()!r}\n{text[end:]}"
    refresh = 'dict(type="SaliencyRefreshHook", estimator=dict(type="ActivationSaliency"), image_size=64, map_size=7)'
    file.write_text(text.replace("custom_hooks = [", f"custom_hooks = [{refresh}, "))
    config = Config.fromfile(file)
    for epoch in (1, 2):
        torch.manual_seed(epoch)
        model = MODELS.build(config.model)
        model.init_weights()
        torch.save(dict(state_dict=model.state_dict()), folder / f"epoch_{epoch}.pth")
    fingerprint = dataset_fingerprint(SceneImages(data_root=str(folder / "photos")))
    SaliencyStore.create(folder / "empty.bin", fingerprint, count=4, size=7)
    SaliencyStore.create(folder / "store.bin", fingerprint, count=4, size=7)
    store = SaliencyStore.open(folder / "store.bin", fingerprint, writable=True)
    store.write(range(4), np.stack([(CORNER * 255).astype(np.uint8)] * 4), np.full(4, 128, np.uint8))
    store.commit(epoch=5)
    return dict(folder=folder, config=file)


def arguments(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def check_maps(picture: np.ndarray, photo: Path, columns: list[tuple[str, np.ndarray, float]]) -> None:
    """A picture's rows of maps: the photo, then each column's map over it, under its name, in this order."""
    image = cv2.imread(str(photo))[..., ::-1]
    expected = [("photo", at_height(image, 240))]
    expected += [(f"{name}, trust {trust:.2f}", draw_heat(image, values)) for name, values, trust in columns]
    y = 0
    for start in range(0, len(expected), 7):
        x = 0
        for label, wanted in expected[start : start + 7]:
            tile = captioned(wanted, [label])
            np.testing.assert_array_equal(picture[y : y + 258, x : x + tile.shape[1]], tile, err_msg=label)
            x += tile.shape[1] + 6
        y += 264
    assert picture.shape[0] == y - 6
    assert (picture[:258, x:] == 32).all() or len(expected) > 7, "there is a column more than there should be"


def read_png(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1]


def test_checkpoints_and_stores_are_drawn_beside_each_other(run: dict[str, Path], tmp_path: Path) -> None:
    """By the command line, with positional arguments between the options."""
    folder, out = run["folder"], tmp_path / "out"
    shutil.copytree(folder, tmp_path / "b", ignore=shutil.ignore_patterns("photos"))
    line = ["browse", "saliency", run["config"], folder / "epoch_1.pth", "--store", folder / "store.bin"]
    line.append(folder / "epoch_2.pth")
    line += ["--draws", 0, "--store", tmp_path / "b" / "store.bin", "--number", 2, "--device", "cpu", "--out", out]
    assert cli.main([str(word) for word in [*line, tmp_path / "b" / "epoch_1.pth"]]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["contact_sheet.png", "saliency_000000.png", "saliency_000003.png"]
    config, base = Config.fromfile(run["config"]), folder.name
    paths = [str(folder / "photos" / f"{index}.jpg") for index in (0, 3)]
    columns = {
        name: photo_maps(load_network(config, folder / file), ActivationSaliency(), extraction_of(config), paths)
        for name, file in ((f"{base}/epoch_1", "epoch_1.pth"), ("epoch_2", "epoch_2.pth"), ("b/epoch_1", "epoch_1.pth"))
    }
    for position, path in enumerate(paths):
        wanted = [(f"{place}/store, after epoch 5", CORNER, 128 / 255) for place in (base, "b")]
        wanted += [(name, maps[position], trust[position]) for name, (maps, trust) in columns.items()]
        check_maps(read_png(out / f"saliency_{(0, 3)[position]:06d}.png"), Path(path), wanted)
    maps = [maps for maps, _ in columns.values()]
    assert np.abs(maps[0] - maps[1]).max() > 0.1, "the checkpoints must differ for the order to show"


def test_every_refresh_of_a_history_is_drawn_in_order(
    run: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run["folder"]
    data = SceneImages(data_root=str(folder / "photos"))
    generator = np.random.default_rng(0)
    maps, trust = generator.integers(0, 256, (9, 4, 7, 7), np.uint8), generator.integers(0, 256, (9, 4), np.uint8)
    for number in range(9):
        append_history(tmp_path / "h.npz", dataset_fingerprint(data), 10 * number + 10, maps[number], trust[number])
    monkeypatch.chdir(tmp_path)
    assert main(arguments(run["config"], "--history", "h.npz", "--draws", 0)) == 0
    out = tmp_path / "work_dirs" / "tiny_scrl" / "saliency"
    for index in range(4):
        wanted = [(f"after epoch {10 * n + 10}", maps[n, index] / np.float32(255), trust[n, index] / 255) for n in range(9)]
        check_maps(read_png(out / f"saliency_{index:06d}.png"), folder / "photos" / f"{index}.jpg", wanted)
    assert main(arguments(run["config"], "--history", "h.npz", "--draws", 2, "--number", 2, "--out", "two")) == 0
    assert len(list(Path("two").iterdir())) == 3
    two = ["--cfg-options", "train_dataloader.dataset.indices=2"]
    with pytest.raises(InputError, match=r"h\.npz: holds .*another data set"):
        main(arguments(run["config"], "--history", "h.npz", "--out", "two", *two))


def test_backbone_files_are_named_as_such(run: dict[str, Path], tmp_path: Path) -> None:
    model = MODELS.build(Config.fromfile(run["config"]).model)
    torch.save(dict(state_dict=model.backbone.state_dict()), tmp_path / "b.pth")
    seen: list[str] = []

    def keep(dataset, indices, columns, draws):
        seen.extend(column.name for column in columns)
        return draw_photos(dataset, indices, columns, draws)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmsscl.visualization.browse_saliency.draw_photos", keep)
        main(arguments(run["config"], tmp_path / "b.pth", "--draws", 0, "--number", 1, "--out", tmp_path, "--device", "cpu"))
    assert seen == ["b (backbone file)"]


def test_bad_input(run: dict[str, Path], tmp_path: Path) -> None:
    config, folder = run["config"], run["folder"]
    two = ["--cfg-options", "train_dataloader.dataset.indices=2"]
    (tmp_path / "file").write_text("")
    for words, text in (
        ([config], "nothing to draw"),
        ([config, "--store", folder / "empty.bin"], "no refresh has filled it"),
        ([config, "--store", folder / "store.bin", "--images", folder], "Leave out --images"),
        ([config, "--history", folder / "h.npz", "--images", folder], "Leave out --images"),
        ([config, "--history", folder / "h.npz"], "no such file"),
        ([config, "--store", folder / "absent.bin"], "no such saliency store"),
        ([config, "--store", folder / "epoch_1.pth"], "is no saliency store"),
        ([config, folder / "epoch_1.pth", "--number", 0], "--number 0"),
        ([config, folder / "absent.pth"], "no such file"),
        ([config, folder / "epoch_1.pth", "--device", "gpu"], "--device gpu"),
        ([config, folder / "epoch_1.pth", "--out", tmp_path / "file"], "file cannot be written to"),
        ([config, "--store", folder / "store.bin", *two], "another data set"),
    ):
        with pytest.raises(InputError, match=text):
            main(arguments("--out", tmp_path / "out", *words))
