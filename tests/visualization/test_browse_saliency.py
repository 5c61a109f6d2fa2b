"""Pictures of saliency: colors at the right place, crops counted as brute force counts them, files written."""
import argparse
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmsscl.datasets import SceneImages
from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.errors import InputError
from mmsscl.registry import MODELS
from mmsscl.saliency.store import SaliencyStore, dataset_fingerprint
from mmsscl.visualization import browse_saliency
from mmsscl.visualization.browse_saliency import MapColumn, add_arguments, draw_photos, main
from mmsscl.visualization.saliency_overlay import (
    at_height,
    captioned,
    crop_coverage,
    draw_heat,
    heat_colors,
    mean_inside,
)
from tests.sample_runs import write_photos, write_pretraining_config


def guided_pipeline(source: str = "store", local: bool = True) -> list[dict]:
    pair = dict(
        type="SpatialConsistentPair", size=32, views=[dict(type="SaliencyCrop", area=(0.05, 0.1), lambda_max=1.0)] * 2,
        boxes=dict(type="WholeViewBox"),
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


def test_mean_inside_is_the_mean_over_pixels_then_crops() -> None:
    values = np.random.default_rng(1).random((20, 30)).astype(np.float32)
    crops = np.array([[0, 0, 30, 20], [3, 4, 10, 5], [29, 19, 1, 1]], float)
    expected = np.mean([values[y : y + h, x : x + w].mean() for x, y, w, h in crops.astype(int)])
    assert mean_inside(values, crops, (20, 30)) == pytest.approx(expected, rel=1e-5)


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


def test_guided_crops_go_where_the_map_is(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 2)
    data = SceneImages(data_root=str(photos), pipeline=guided_pipeline(local=False))
    indices = np.array([0, 1])
    drawn = {}

    def keep(seed, index, image, pair, local, guide, trust, draws):
        drawn[index] = draw_crops(seed, index, image, pair, local, guide, trust, draws)
        return drawn[index]

    draw_crops = browse_saliency._draw_crops
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(browse_saliency, "_draw_crops", keep)
        pictures = list(draw_photos(data, indices, [column(CORNER)], draws=60))
    assert len(pictures) == 2
    assert pictures[0].dtype == np.uint8
    plain, guided = drawn[0]["plain crops"], drawn[0]["guided crops"]
    assert plain.shape == guided.shape == (120, 5)
    inside = [mean_inside(CORNER, crops, (96, 96)) for crops in (plain, guided)]
    assert inside[1] > 3 * inside[0]
    # the plain ones are those that training draws without saliency
    law = data.pipeline[2].crop_laws[0]
    stream = RandomStreams(data.seed, 7, 1).stream("crop")
    np.testing.assert_array_equal(drawn[1]["plain crops"][14], law.sample((96, 96), stream, None))


@pytest.mark.parametrize(("source", "place"), [("gaussian", (3, 3)), ("shuffled", (6, 0)), ("store", (0, 6))])
def test_controls_are_guided_by_their_own_map(source: str, place: tuple[int, int]) -> None:
    maps = np.stack([CORNER[::-1, ::-1], CORNER])
    guide, _ = browse_saliency._guiding_map(source, MapColumn("x", maps, np.ones(2, np.float32)), 1)
    row, cell = np.unravel_index(guide.argmax(), guide.shape)
    assert abs(row - place[0]) <= 1
    assert abs(cell - place[1]) <= 1


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


def test_checkpoints_and_stores_are_drawn_beside_each_other(run: dict[str, Path], tmp_path: Path) -> None:
    folder = run["folder"]
    line = [run["config"], folder / "epoch_1.pth", folder / "epoch_2.pth", "--store", folder / "store.bin", "--number", 2]
    line += ["--draws", 5, "--device", "cpu", "--out", tmp_path / "out"]
    assert main(arguments(*line)) == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["contact_sheet.png", "saliency_000000.png", "saliency_000003.png"]
    picture = cv2.imread(str(tmp_path / "out" / names[1]))
    # photo, store and two checkpoints above; plain, guided, difference and local below
    assert picture.shape[0] == 18 + 240 + 6 + 3 * 18 + 240
    assert picture.shape[1] >= 4 * 240 + 3 * 6
    photo = at_height(cv2.imread(str(folder / "photos" / "0.jpg")), 240)
    assert np.abs(picture[18:258, :240].astype(int) - photo).mean() < 2


def test_a_store_alone_needs_no_checkpoint(run: dict[str, Path], tmp_path: Path) -> None:
    line = [run["config"], "--store", run["folder"] / "store.bin", "--number", 1, "--draws", 0, "--out", tmp_path]
    assert main(arguments(*line)) == 0
    assert cv2.imread(str(tmp_path / "saliency_000000.png")).shape[0] == 258


def test_bad_input(run: dict[str, Path], tmp_path: Path) -> None:
    config, folder = run["config"], run["folder"]
    two = ["--cfg-options", "train_dataloader.dataset.indices=2"]
    for words, text in (
        ([config], "nothing to draw"),
        ([config, "--store", folder / "empty.bin"], "no refresh has filled it"),
        ([config, "--store", folder / "store.bin", "--images", folder], "Leave out --images"),
        ([config, "--store", folder / "absent.bin"], "no such saliency store"),
        ([config, folder / "epoch_1.pth", "--number", 0], "--number 0"),
        ([config, folder / "absent.pth"], "no such file"),
        ([config, "--store", folder / "store.bin", *two], "another data set"),
    ):
        with pytest.raises(InputError, match=text):
            main(arguments(*words, "--out", tmp_path))
