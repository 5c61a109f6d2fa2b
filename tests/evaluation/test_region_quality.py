"""Scores of region retrieval and CorLoc, against the same by hand."""
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmsscl.errors import InputError
from mmsscl.evaluation.labelled_photos import BoxedPhotos
from mmsscl.evaluation.paired_bootstrap import paired_differences
from mmsscl.evaluation.region_features import region_features
from mmsscl.evaluation.region_pairs import PairSettings, region_batches
from mmsscl.evaluation.region_quality import SIZES, corloc, region_quality
from mmsscl.evaluation.region_retrieval import box_overlaps, retrieval_ranks
from mmsscl.evaluation.saliency_quality import BoxQuality
from mmsscl.saliency.estimators import GeodesicSaliency
from mmsscl.saliency.normalise import normalise_maps
from tests.sample_runs import write_photos

SETTINGS = PairSettings(size=64, num_boxes=4, min_size=8, photometric=True)


class Colors(nn.Module):
    """Squares and products of colors, a cell each 8 pixels."""

    stride = 8
    sha256 = "of nothing"
    device = torch.device("cpu")

    def __init__(self, blind: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.blind = blind

    def maps(self, images: Tensor) -> Tensor:
        values = images[..., ::8, ::8].float() / 255 - 0.5
        values = torch.cat([values, values * values.roll(1, 1)], dim=1)
        return torch.ones_like(values) if self.blind else values


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = write_photos(tmp_path_factory.mktemp("quality"), count=9)
    return sorted(str(path) for path in folder.iterdir())


def test_a_row_a_network_and_controls(photos: list[str]) -> None:
    networks: Any = {"colors": Colors(), "blind": Colors(blind=True)}
    report = region_quality(networks, photos, SETTINGS)
    rows = {row["name"]: row for row in report["rows"]}
    assert list(rows) == ["colors", "blind", "position", "color", "chance"]
    assert (report["photos"], report["left_out"], report["queries"], report["corloc"]) == (9, 0, 36, None)
    for where in ("photo", "all"):
        # features that see nothing are chance
        assert rows["blind"][where] == pytest.approx(rows["chance"][where])
        assert rows["colors"][where]["mrr"] > rows["chance"][where]["mrr"]
    assert rows["chance"]["photo"]["top1"] == pytest.approx(1 / 4)
    assert rows["chance"]["all"]["top5"] == pytest.approx(5 / 36)
    settings = report["settings"]
    assert (settings["seed"], settings["strides"], settings["same_iou"]) == (0, {"colors": 8, "blind": 8}, 0.5)
    assert settings["sha256"] == dict.fromkeys(networks, "of nothing")
    assert region_quality(networks, photos, SETTINGS) == report


def test_differences_are_over_photos(photos: list[str]) -> None:
    networks: Any = {"blind": Colors(blind=True), "colors": Colors()}
    report = region_quality(networks, photos, SETTINGS)
    regions = region_features(networks, photos, SETTINGS)
    same = box_overlaps(regions.boxes[1]) > 0.5
    tables = {}
    for name, (queries, candidates) in regions.features.items():
        ranks = retrieval_ranks(queries, candidates, regions.valid, same)
        hits = [1.0 * (each.level == 0) * (each.above == 0) + 1 / (each.level + 1) * (each.level > 0) for each in ranks]
        tables[name] = np.stack([*(hit.reshape(9, 4).sum(1) for hit in hits), np.full(9, 4.0)], axis=1)
    wanted = paired_differences(
        tables, lambda sums: {"photo top1": sums[..., 0] / sums[..., 2], "all top1": sums[..., 1] / sums[..., 2]}
    )
    (found,) = report["differences"]
    assert (found["name"], found["from"], found["photos"]) == ("colors", "blind", 9)
    for score, values in wanted[0]["scores"].items():
        assert found["scores"][score] == pytest.approx(values)
        assert values["low"] < values["high"]
    rows = {row["name"]: row for row in report["rows"]}
    change = rows["colors"]["all"]["mrr"] - rows["blind"]["all"]["mrr"]
    assert found["scores"]["all mrr"]["difference"] == pytest.approx(change)


def test_without_distortion_the_mean_color_suffices(photos: list[str]) -> None:
    plain = PairSettings(size=64, num_boxes=4, min_size=8)
    found = {}
    for settings in (plain, SETTINGS):
        rows = region_quality({"colors": Colors()}, photos, settings)["rows"]  # type: ignore[dict-item]
        found[settings.photometric] = {row["name"]: row["all"]["top1"] for row in rows}
    assert found[False]["color"] > 0.9
    assert found[True]["color"] < 0.6
    assert found[False]["colors"] > found[True]["colors"] + 0.2
    assert found[False]["position"] == found[True]["position"]


def test_position_and_sizes_by_hand(photos: list[str]) -> None:
    batch = next(region_batches(photos, SETTINGS))
    low, high = batch.boxes[..., :2].numpy(), batch.boxes[..., 2:].numpy()
    assert bool(batch.valid.all())
    places = np.concatenate([(low + high) / 2, high - low], -1).astype(np.float64)
    nearest = ((places[0][:, :, None] - places[1][:, None]) ** 2).sum(-1).argmin(-1)
    hits = nearest == np.arange(4)
    report = region_quality({"colors": Colors()}, photos, SETTINGS)  # type: ignore[dict-item]
    row = next(row for row in report["rows"] if row["name"] == "position")
    assert row["photo"]["top1"] == pytest.approx(hits.mean())
    cells = np.sqrt((high - low).prod(-1).min(0)) / 8
    assert sum(figures["queries"] for figures in row["sizes"].values()) == 36
    for size, (least, limit) in SIZES.items():
        chosen = (cells >= least) & (cells < limit)
        assert row["sizes"][size]["queries"] == chosen.sum() > 0
        assert row["sizes"][size]["photo"] == pytest.approx(hits[chosen].mean())


def test_boxes_that_show_nearly_the_same_are_no_candidates(photos: list[str]) -> None:
    strict, loose = (region_quality({"colors": Colors()}, photos, SETTINGS, same_iou=iou)["rows"] for iou in (1.0, 0.1))  # type: ignore[dict-item]
    assert strict[-1]["photo"]["top1"] == pytest.approx(1 / 4)
    assert loose[-1]["photo"]["top1"] > strict[-1]["photo"]["top1"]
    assert all(after["photo"]["mrr"] >= before["photo"]["mrr"] for before, after in zip(strict, loose, strict=True))
    assert loose[0] != strict[0]


def test_corloc_by_hand(photos: list[str]) -> None:
    boxes = [np.array([[10 * index % 50, 20.0, 10 * index % 50 + 40, 70.0]]) for index in range(9)]
    boxed = BoxedPhotos(photos, boxes, [(96, 96)] * 9)
    report = corloc({"colors": Colors()}, boxed, size=96, batch_size=4)  # type: ignore[dict-item]
    quality = BoxQuality()
    for path, own in zip(photos, boxes, strict=True):
        image = torch.from_numpy(cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)).permute(2, 0, 1)
        maps = normalise_maps(GeodesicSaliency()(Colors().maps(image[None])))
        assert maps.shape == (1, 12, 12)
        quality.update(maps[0].numpy(), own, (96, 96))
    row = report["maps"][0]
    assert {key: row[key] for key in quality.compute()} == pytest.approx(quality.compute(), abs=1e-6)
    assert [row["name"] for row in report["maps"]] == ["colors", "colors, shuffled", "centred Gaussian", "uniform"]
    whole = region_quality({"colors": Colors()}, photos, SETTINGS, boxed=boxed, corloc_size=96)  # type: ignore[dict-item]
    assert whole["corloc"] == report
    with pytest.raises(InputError, match="--corloc-size 16: has under 3 cells of colors's 8 px"):
        corloc({"colors": Colors()}, boxed, size=16)  # type: ignore[dict-item]


def test_photos_whose_views_share_too_little_are_left_out_and_counted(photos: list[str]) -> None:
    networks: Any = {"colors": Colors()}
    large = PairSettings(size=64, num_boxes=4, min_size=56)
    valid = next(region_batches(photos, large)).valid
    kept = int(valid.any(1).sum())
    assert 0 < kept < 9
    report = region_quality(networks, photos, large, same_iou=1.0)
    assert (report["photos"], report["left_out"], report["queries"]) == (9, 9 - kept, 4 * kept)
    assert report["rows"][-1]["all"]["top1"] == pytest.approx(1 / (4 * kept))
    alone = PairSettings(size=64, num_boxes=4, min_size=63)
    assert not bool(next(region_batches(photos[:1], alone)).valid.any())
    with pytest.raises(InputError, match="no photo has a box that both its views show"):
        region_quality(networks, photos[:1], alone)


def test_settings_that_leave_nothing_to_find(photos: list[str]) -> None:
    networks: Any = {"colors": Colors()}
    with pytest.raises(InputError, match="--boxes 1:"):
        region_quality(networks, photos, PairSettings(size=64, num_boxes=1, min_size=8))
    for iou in (0.0, 1.5):
        with pytest.raises(InputError, match=f"--same-iou {iou}:"):
            region_quality(networks, photos, SETTINGS, same_iou=iou)
