from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.datasets.transforms import GridBoxes, RandomAreaCrop, ScoreCrops, WholeViewBox
from mmsscl.structures import ViewGeometry
from mmsscl.structures.saliency_map import SaliencyMap

SIZE, IMAGE = 64, (120, 168)


def sample(values: np.ndarray | None, index: int = 0, law: object = None, local: int = 0) -> dict:
    streams = RandomStreams(0, 0, index)
    crop = RandomAreaCrop()
    geometry = np.stack([crop.sample(IMAGE, streams.stream("crop")) for _ in range(2)])
    boxes, valid = (law or GridBoxes(num_boxes=4, min_size=8)).sample(geometry, SIZE, streams.stream("box"))
    results = {
        "image": SimpleNamespace(height=IMAGE[0], width=IMAGE[1]),
        "views": [torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)] * 2,
        "geometry": geometry,
        "boxes": boxes,
        "valid": valid,
    }
    if values is not None:
        results["saliency"] = SaliencyMap(np.asarray(values, np.float32), 0.5, 0.8, streams.stream("saliency"))
    if local:
        results["local_geometry"] = np.stack([crop.sample(IMAGE, streams.stream("local_crop")) for _ in range(local)])
    return results


def reference(pixels: np.ndarray, box: np.ndarray) -> float:
    """Score of a box from the map upsampled to 8 pixels for one of the image's, edges rounded to an 8th."""
    x1, y1, x2, y2 = np.rint(np.asarray(box) * 8).astype(int)
    inside = pixels[y1:y2, x1:x2]
    return float(inside.mean() ** 0.5 * (inside.sum() / pixels.sum()) ** 0.5)


def test_scores_are_those_of_the_upsampled_map_whichever_view_shows_the_box() -> None:
    values = np.random.default_rng(0).random((12, 14)).astype(np.float32)
    pixels = np.kron(values.astype(np.float64), np.ones((80, 96)))
    flips = set()
    for index in range(12):
        results = ScoreCrops()(sample(values, index, local=3))
        crops = np.concatenate([results["geometry"], results["local_geometry"]]).astype(np.float64)
        flips.add(tuple(results["geometry"][:, 4]))
        scores = np.concatenate([results["view_scores"], results["local_scores"]])
        assert scores.dtype == results["box_scores"].dtype == np.float32
        np.testing.assert_allclose(
            scores, [reference(pixels, (x, y, x + w, y + h)) for x, y, w, h, _ in crops], rtol=1e-5
        )
        regions = ViewGeometry(crops[:2], SIZE).boxes_to_image(results["boxes"].astype(np.float64))
        for view in regions:
            np.testing.assert_allclose(results["box_scores"], [reference(pixels, box) for box in view], rtol=0.02)
        assert results["guidance"] == pytest.approx(0.4)
        assert 0 < scores.min() <= scores.max() <= 1
    assert len(flips) == 4


def test_whole_view_boxes_score_as_the_pair() -> None:
    results = ScoreCrops()(sample(np.eye(7), law=WholeViewBox()))
    first, second = results["view_scores"]
    assert first != second
    np.testing.assert_allclose(results["box_scores"], [np.sqrt(first * second)], rtol=1e-5)
    assert "local_scores" not in results


def test_without_a_map_all_scores_are_one_and_guidance_zero() -> None:
    for results in (ScoreCrops()(sample(None, local=2)), ScoreCrops()(sample(None, local=2) | {"saliency": None})):
        assert results["guidance"] == 0
        for key, count in (("view_scores", 2), ("box_scores", 4), ("local_scores", 2)):
            np.testing.assert_array_equal(results[key], np.ones(count, np.float32))


def test_a_map_of_zeros_scores_zero_and_a_flat_one_by_area() -> None:
    with np.errstate(all="raise"):
        zeros = ScoreCrops()(sample(np.zeros((14, 14))))
        flat = ScoreCrops()(sample(np.ones((14, 14))))
    assert not zeros["view_scores"].any()
    assert not zeros["box_scores"].any()
    share = flat["geometry"][:, 2] * flat["geometry"][:, 3] / (IMAGE[0] * IMAGE[1])
    np.testing.assert_allclose(flat["view_scores"], np.sqrt(share), rtol=1e-5)
