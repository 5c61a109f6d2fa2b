import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.datasets.transforms import (
    DrawPhotometric,
    LocalCrops,
    RandomAreaCrop,
    ScoreCrops,
    SpatialConsistentPair,
    WholeImage,
)
from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS
from mmsscl.structures.saliency_map import SaliencyMap


class Picture:
    """An image in memory that counts its decodes and allows any reduction up to ``largest``."""

    path = "picture.jpg"

    def __init__(self, height: int, width: int, largest: int = 1) -> None:
        self.height, self.width, self.largest = height, width, largest
        low = np.random.default_rng(0).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
        self.pixels = cv2.resize(low, (width, height), interpolation=cv2.INTER_LINEAR)
        self.decodes: list[int] = []

    def best_reduction(self, scale: float) -> int:
        return max((r for r in (2, 4, 8) if r <= min(scale, self.largest)), default=1)

    def decode(self, reduction: int = 1) -> np.ndarray:
        self.decodes.append(reduction)
        size = (-(-self.width // reduction), -(-self.height // reduction))
        return self.pixels if reduction == 1 else cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA)


def sample(image: Picture, index: int = 0, values: np.ndarray | None = None, guidance: float = 1.0) -> dict:
    streams = RandomStreams(0, 0, index)
    saliency = None
    if values is not None:
        saliency = SaliencyMap(np.asarray(values, np.float32), guidance, 1.0, streams.stream("saliency"))
    return {"image": image, "streams": streams, "saliency": saliency}


def test_adds_fixed_shapes_and_decodes_once_beside_a_pair() -> None:
    image = Picture(240, 320)
    results = TRANSFORMS.build({"type": "LocalCrops", "number": 3, "size": 48})(
        SpatialConsistentPair(64, boxes={"type": "WholeViewBox"})(sample(image))
    )
    assert results["local_views"].dtype == torch.uint8
    assert results["local_views"].shape == (3, 3, 48, 48)
    assert results["local_views"].is_contiguous()
    assert results["local_geometry"].dtype == np.float32
    assert results["local_geometry"].shape == (3, 5)
    assert image.decodes == [1]
    area = results["local_geometry"][:, 2] * results["local_geometry"][:, 3] / (240 * 320)
    assert 0.045 < area.min() <= area.max() < 0.205


def test_pixels_are_pils_bicubic_crop_then_flip() -> None:
    image = Picture(240, 320)
    flips = set()
    for index in range(6):
        results = LocalCrops(number=2, size=64)(sample(image, index))
        for view, (x, y, w, h, flip) in zip(results["local_views"], results["local_geometry"].astype(int).tolist()):
            part = Image.fromarray(image.pixels).crop((x, y, x + w, y + h)).resize((64, 64), Image.Resampling.BICUBIC)
            expected = np.asarray(part)[:, ::-1] if flip else np.asarray(part)
            assert np.abs(view.permute(1, 2, 0).numpy().astype(int) - expected.astype(int)).max() <= 2
            flips.add(flip)
    assert flips == {0, 1}
    assert image.decodes == [1] * 6


@pytest.mark.parametrize("guidance", [None, 0.0, 1.0])
def test_nothing_else_of_a_sample_changes(guidance: float | None) -> None:
    values = None if guidance is None else np.eye(14)
    pair = SpatialConsistentPair(
        64, [{"type": "SaliencyCrop"}] * 2, {"type": "SaliencyBoxes", "min_size": 16}, max_iou=0.8
    )
    for index in range(8):
        plain = DrawPhotometric()(pair(sample(Picture(120, 160), index, values, guidance or 0.0)))
        for steps in ((pair, LocalCrops(2, 32)), (LocalCrops(5, 32), pair)):
            results = sample(Picture(120, 160), index, values, guidance or 0.0)
            for step in (*steps, DrawPhotometric()):
                results = step(results)
            for key in ("geometry", "boxes", "valid", "photometric"):
                np.testing.assert_array_equal(results[key], plain[key])
            assert all(torch.equal(one, other) for one, other in zip(results["views"], plain["views"]))
        assert results["local_photometric"].shape == (5, 9)


def test_without_guidance_the_law_is_the_plain_one_and_with_it_crops_gather() -> None:
    image, values = Picture(280, 280), np.zeros((14, 14))
    values[8:12, 2:6] = 1
    centres, scores = {0.0: [], 1.0: []}, []
    for guidance, found in centres.items():
        for index in range(100):
            results = sample(image, index, values, guidance)
            crops = LocalCrops(number=2, size=16, area=(0.05, 0.1))(results)["local_geometry"]
            if guidance == 0:
                stream, law = RandomStreams(0, 0, index).stream("local_crop"), RandomAreaCrop(area=(0.05, 0.1))
                np.testing.assert_array_equal(crops, [law.sample((280, 280), stream) for _ in range(2)])
            found.append(crops[:, :2] + crops[:, 2:4] / 2)
        inside = np.abs(np.concatenate(found) - (80, 200)).max(axis=1) < 60
        scores.append(inside.mean())
    assert scores[0] < 0.4
    assert scores[1] > 0.75


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (1, 500), (3, 5000), (6000, 200)])
def test_small_images_and_panoramas(size: tuple[int, int]) -> None:
    results = LocalCrops(number=3, size=96)(sample(Picture(*size), 0, np.eye(14)))
    assert results["local_views"].shape == (3, 3, 96, 96)
    x, y, w, h, _ = results["local_geometry"].T
    assert min(x.min(), y.min()) >= 0
    assert min(w.min(), h.min()) >= 1
    assert (x + w).max() <= size[1]
    assert (y + h).max() <= size[0]


def test_decodes_finer_where_the_pairs_pixels_are_too_coarse_and_snaps() -> None:
    image = Picture(803, 1205, largest=4)
    pair = SpatialConsistentPair(64, [WholeImage(), WholeImage()], {"type": "WholeViewBox"})
    results = LocalCrops(number=2, size=96)(pair(sample(image)))
    assert image.decodes == [4, 2]  # crops of at least 180 px a side for 96
    assert not (results["local_geometry"][:, :4] % 2).any()
    image = Picture(803, 1205, largest=4)
    results = LocalCrops(number=2, size=16)(pair(sample(image)))
    assert image.decodes == [4]
    assert not (results["local_geometry"][:, :4] % 4).any()


def test_scored_and_packed_along() -> None:
    steps = [SpatialConsistentPair(64, boxes={"type": "WholeViewBox"}), LocalCrops(3, 32), DrawPhotometric(),
             ScoreCrops(), TRANSFORMS.build({"type": "PackPair"})]  # fmt: skip
    results = sample(Picture(120, 160), 0, np.eye(14)) | {"sample_idx": 4}
    for step in steps:
        results = step(results)
    found = {key: (value.dtype, tuple(value.shape)) for key, value in results["pairs"].items() if "local" in key}
    assert found == {
        "local_views": (torch.uint8, (3, 3, 32, 32)),
        "local_geometry": (torch.float32, (3, 5)),
        "local_photometric": (torch.float32, (3, 9)),
        "local_scores": (torch.float32, (3,)),
    }


@pytest.mark.parametrize(
    ("arguments", "word"), [({"number": 0}, "number"), ({"size": 0.5}, "size"), ({"lambda_max": 2}, "lambda_max")]
)
def test_bad_arguments_are_named(arguments: dict, word: str) -> None:
    with pytest.raises(InputError, match=word):
        LocalCrops(**arguments)
