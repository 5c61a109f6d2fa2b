from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mmsscl.datasets.encoded_image import EncodedImage
from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.datasets.transforms import CropLaw, GridBoxes, SpatialConsistentPair
from mmsscl.datasets.transforms.boxes import shared_region
from mmsscl.datasets.transforms.spatial_consistent_pair import crop_iou, snap_to_reduction
from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS
from mmsscl.structures import ViewGeometry
from mmsscl.structures.saliency_map import SaliencyMap


class FixedCrops(CropLaw):
    """Hands out a list of crops, the last one for ever."""

    def __init__(self, *crops: tuple) -> None:
        self.crops = [np.array(crop, dtype=np.float32) for crop in crops]
        self.drawn = 0

    def sample(
        self, image_size: tuple[int, int], generator: np.random.Generator, saliency: np.ndarray | None = None
    ) -> np.ndarray:
        self.drawn += 1
        return self.crops[min(self.drawn, len(self.crops)) - 1].copy()


class Picture:
    """An image in memory that counts its decodes and allows any reduction up to ``largest``."""

    path = "picture.jpg"

    def __init__(self, height: int, width: int, largest: int = 1, seed: int = 0) -> None:
        self.height, self.width, self.largest = height, width, largest
        low = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
        noise = np.random.default_rng(seed + 1).integers(-30, 31, (height, width, 3))
        smooth = cv2.resize(low, (width, height), interpolation=cv2.INTER_LINEAR)
        self.pixels = np.clip(smooth.astype(int) + noise, 0, 255).astype(np.uint8)
        self.decodes: list[int] = []

    def best_reduction(self, scale: float) -> int:
        return max((r for r in (2, 4, 8) if r <= min(scale, self.largest)), default=1)

    def decode(self, reduction: int = 1) -> np.ndarray:
        self.decodes.append(reduction)
        size = (-(-self.width // reduction), -(-self.height // reduction))
        if reduction == 1:
            return self.pixels
        return cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA)


def run(transform: SpatialConsistentPair, image: object, index: int = 0, seed: int = 0) -> dict:
    return transform({"image": image, "streams": RandomStreams(seed, 0, index)})


def test_adds_what_the_contract_says() -> None:
    transform = TRANSFORMS.build(
        {
            "type": "SpatialConsistentPair",
            "size": 96,
            "views": [{"type": "RandomAreaCrop"}, {"type": "RandomAreaCrop", "area": (0.1, 0.5)}],
            "boxes": {"type": "GridBoxes", "num_boxes": 4, "min_size": 16},
        }
    )
    image = Picture(120, 160)
    results = run(transform, image)
    assert len(results["views"]) == 2
    for view in results["views"]:
        assert view.dtype == torch.uint8
        assert view.shape == (3, 96, 96)
        assert view.is_contiguous()
    assert results["geometry"].dtype == np.float32
    assert results["geometry"].shape == (2, 5)
    assert results["boxes"].dtype == np.float32
    assert results["boxes"].shape == (2, 4, 4)
    assert results["valid"].shape == (4,)
    assert results["valid"].dtype == bool
    assert image.decodes == [1]
    assert "size=96" in repr(transform)


@pytest.mark.parametrize("crop", [(3, 5, 140, 100, 0), (0, 0, 160, 120, 1), (30, 20, 40, 50, 1), (17, 90, 97, 13, 0)])
def test_pixels_are_pils_bicubic_crop_then_flip(crop: tuple) -> None:
    image = Picture(120, 160)
    views = run(SpatialConsistentPair(64, [FixedCrops(crop), FixedCrops(crop)]), image)["views"]
    x, y, w, h, flip = crop
    expected = Image.fromarray(image.pixels).crop((x, y, x + w, y + h)).resize((64, 64), Image.Resampling.BICUBIC)
    expected = np.asarray(expected)[:, ::-1] if flip else np.asarray(expected)
    difference = np.abs(views[0].permute(1, 2, 0).numpy().astype(int) - expected.astype(int))
    assert difference.max() <= 2
    assert difference.mean() < 0.5
    assert torch.equal(views[0], views[1])


def test_boxes_lie_where_the_pixels_do() -> None:
    # Each pixel stores its own place, so the views themselves say which image region a box covers.
    image = Picture(200, 256)
    image.pixels = np.zeros((200, 256, 3), np.uint8)
    image.pixels[..., 0] = np.arange(256)
    image.pixels[..., 1] = np.arange(200)[:, None]
    transform = SpatialConsistentPair(128, boxes=GridBoxes(num_boxes=5, min_size=16))
    seen_flips = set()
    for index in range(12):
        results = run(transform, image, index)
        seen_flips.add(tuple(results["geometry"][:, 4]))
        in_image = ViewGeometry(results["geometry"], 128).boxes_to_image(results["boxes"])
        for view, boxes, places in zip(results["views"], results["boxes"], in_image):
            for (x1, y1, x2, y2), place in zip(boxes, places):
                centre = view[:2, int((y1 + y2) / 2), int((x1 + x2) / 2)].numpy()
                np.testing.assert_allclose(centre, (place[:2] + place[2:]) / 2, atol=2.6)
    assert len(seen_flips) == 4


def test_crops_are_redrawn_until_they_share_enough() -> None:
    apart, near = (150, 150, 50, 50, 0), (10, 10, 100, 100, 0)
    first, second = FixedCrops((0, 0, 100, 100, 0)), FixedCrops(apart, apart, near)
    results = run(SpatialConsistentPair(64, [first, second], GridBoxes(min_size=16)), Picture(200, 200))
    assert (first.drawn, second.drawn) == (3, 3)
    assert results["valid"].all()
    np.testing.assert_array_equal(results["geometry"][1], near)


@pytest.mark.parametrize(("second", "overlaps"), [((150, 150, 50, 50, 1), False), ((95, 0, 100, 100, 1), True)])
def test_the_last_draw_stays_when_redraws_run_out(second: tuple, overlaps: bool) -> None:
    law = FixedCrops(second)
    transform = SpatialConsistentPair(64, [FixedCrops((0, 0, 100, 100, 0)), law], GridBoxes(min_size=16), max_redraws=4)
    image = Picture(200, 200)
    results = run(transform, image)
    assert law.drawn == 5
    assert image.decodes == [1]
    assert not results["valid"].any()
    boxes = results["boxes"]
    assert np.isfinite(boxes).all()
    assert boxes.min() >= 0
    assert boxes.max() <= 64
    assert (boxes[..., 2:] > boxes[..., :2]).all()
    assert (boxes[0, 0, 2] - boxes[0, 0, 0] < 10) == overlaps


def test_redraws_leave_hardly_any_pair_without_boxes_and_stop_at_max_redraws() -> None:
    sizes = [(480, 640), (375, 500), (640, 427)]
    counts = {}
    for redraws in (0, 10):
        transform = SpatialConsistentPair(224, max_redraws=redraws)
        counts[redraws] = 0
        for index in range(600):
            blank = SimpleNamespace(height=sizes[index % 3][0], width=sizes[index % 3][1], best_reduction=lambda _: 1)
            geometry, _ = transform._draw(blank, RandomStreams(0, 0, index).stream("crop"), None)
            counts[redraws] += shared_region(geometry, 224).least <= 32
    assert counts[0] >= 2
    assert counts[10] == 0


def test_whole_view_box_draws_two_independent_crops_once() -> None:
    law = FixedCrops((150, 150, 50, 50, 1))
    results = run(
        SpatialConsistentPair(64, [FixedCrops((0, 0, 100, 100, 0)), law], {"type": "WholeViewBox"}), Picture(200, 200)
    )
    assert law.drawn == 1
    assert results["valid"].all()
    assert results["boxes"].shape == (2, 1, 4)


def test_min_overlap_asks_for_more_than_the_boxes_do() -> None:
    little, much = (70, 0, 100, 100, 0), (10, 0, 100, 100, 0)
    for min_overlap, drawn in ((None, 1), (30, 2)):
        law = FixedCrops(little, much)
        views = [FixedCrops((0, 0, 100, 100, 0)), law]
        run(SpatialConsistentPair(64, views, GridBoxes(min_size=16), min_overlap=min_overlap), Picture(200, 200))
        assert law.drawn == drawn


def test_streams_keep_crops_apart_from_boxes() -> None:
    image = Picture(120, 160)
    grid = run(SpatialConsistentPair(96, boxes=GridBoxes(num_boxes=10, min_size=16)), image, 3)
    other = run(SpatialConsistentPair(96, boxes=GridBoxes(num_boxes=2, min_size=16)), image, 3)
    np.testing.assert_array_equal(grid["geometry"], other["geometry"])
    assert all(torch.equal(a, b) for a, b in zip(grid["views"], other["views"]))
    again = run(SpatialConsistentPair(96, boxes=GridBoxes(num_boxes=10, min_size=16)), image, 3)
    np.testing.assert_array_equal(grid["boxes"], again["boxes"])
    assert (run(SpatialConsistentPair(96), image, 4)["geometry"] != grid["geometry"]).any()


def test_reduced_decode_snaps_the_geometry_before_boxes_are_drawn() -> None:
    image = Picture(803, 1205, largest=4)
    transform = SpatialConsistentPair(
        64, [FixedCrops((13, 7, 700, 601, 0)), FixedCrops((222, 99, 983, 704, 1))], GridBoxes(min_size=16)
    )
    results = run(transform, image)
    assert image.decodes == [4]
    np.testing.assert_array_equal(results["geometry"], [[12, 8, 700, 600, 0], [224, 100, 980, 700, 1]])
    boxes = ViewGeometry(results["geometry"].astype(np.float64), 64).boxes_to_image(results["boxes"])
    np.testing.assert_allclose(boxes[0], boxes[1], atol=1e-3)
    reduced = image.decode(4)
    expected = Image.fromarray(reduced[2:152, 3:178]).resize((64, 64), Image.Resampling.BICUBIC)
    assert np.abs(results["views"][0].permute(1, 2, 0).numpy().astype(int) - np.asarray(expected)).max() <= 2


def test_reduction_is_chosen_by_the_smaller_crop() -> None:
    image = Picture(800, 1200, largest=8)
    large, small = (0, 0, 1200, 800, 0), (100, 100, 300, 140, 0)
    run(SpatialConsistentPair(64, [FixedCrops(large), FixedCrops(small)], GridBoxes(min_size=1)), image)
    assert image.decodes == [2]  # 140 / 64 = 2.2


@pytest.mark.parametrize("size", [(803, 1205), (17, 9), (8, 8), (1001, 16)])
@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
def test_snapped_crops_stay_inside_and_near(size: tuple[int, int], reduction: int) -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        w, h = generator.integers(1, size[1] + 1), generator.integers(1, size[0] + 1)
        x, y = generator.integers(0, size[1] - w + 1), generator.integers(0, size[0] - h + 1)
        crop = np.array([x, y, w, h, 1], dtype=np.float32)
        snapped = snap_to_reduction(crop, reduction, size)
        assert not (snapped[:4] % reduction).any()
        assert snapped[:2].min() >= 0
        assert snapped[2:4].min() >= reduction
        assert snapped[0] + snapped[2] <= size[1]
        assert snapped[1] + snapped[3] <= size[0]
        assert np.abs(snapped[:2] - crop[:2]).max() < 2 * reduction
        assert np.abs(snapped[:2] + snapped[2:4] - crop[:2] - crop[2:4]).max() < 2 * reduction
        assert snapped[4] == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (20, 30)])
def test_images_smaller_than_the_view_are_enlarged(size: tuple[int, int]) -> None:
    results = run(SpatialConsistentPair(64, boxes=GridBoxes(min_size=16)), Picture(*size))
    assert all(view.shape == (3, 64, 64) for view in results["views"])
    assert np.isfinite(results["boxes"]).all()


def test_a_photo_file_decoded_at_reduced_size() -> None:
    # 2.4 megapixels: EncodedImage decodes at a reduced size when both crops allow it.
    smooth = cv2.GaussianBlur(Picture(1280, 1920).pixels, (0, 0), 4)
    data = cv2.imencode(".jpg", smooth[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    image = EncodedImage(data, "photo.jpg")
    crops = (101, 55, 1003, 910, 0), (300, 200, 1200, 1000, 1)
    transform = SpatialConsistentPair(224, [FixedCrops(crop) for crop in crops])
    results = run(transform, image)
    assert (results["geometry"][:, :4] % 4 == 0).all()
    for (x, y, w, h, flip), view in zip(results["geometry"].astype(int), results["views"]):
        expected = Image.fromarray(smooth).crop((x, y, x + w, y + h)).resize((224, 224), Image.Resampling.BICUBIC)
        expected = np.asarray(expected)[:, ::-1] if flip else np.asarray(expected)
        # Two scalings instead of one, and JPEG itself: near, and clearly in the right place.
        assert np.abs(view.permute(1, 2, 0).numpy().astype(int) - expected).mean() < 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": 0}, "size=0"),
        ({"size": 224.0}, "size=224.0"),
        ({"views": [{"type": "RandomAreaCrop"}]}, "two crop laws"),
        ({"views": {"type": "RandomAreaCrop"}}, "two crop laws"),
        ({"views": [{"type": "GridBoxes"}] * 2}, r"views\[0\]=.*is no CropLaw"),
        ({"views": [None, None]}, r"views\[0\]=None is no CropLaw"),
        ({"boxes": {"type": "RandomAreaCrop"}}, "boxes=.*is no BoxLaw"),
        ({"max_redraws": -1}, "max_redraws=-1"),
        ({"size": 32}, "min_size=32 px do not fit"),
        ({"min_overlap": 224}, "min_overlap=224"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        SpatialConsistentPair(**arguments)


def guide(guidance: float) -> SaliencyMap:
    return SaliencyMap(np.eye(4, dtype=np.float32), guidance, 1.0, np.random.default_rng(0))


@pytest.mark.parametrize(("guidance", "drawn"), [(None, 1), (0.0, 1), (0.01, 3)])
def test_crops_too_much_alike_are_redrawn_where_saliency_guides(guidance: float | None, drawn: int) -> None:
    same, near, other = (0, 0, 100, 100, 0), (5, 5, 100, 100, 0), (20, 20, 100, 100, 0)
    law = FixedCrops(same, near, other)
    transform = SpatialConsistentPair(64, [FixedCrops(same), law], GridBoxes(min_size=16), max_iou=0.8)
    saliency = None if guidance is None else guide(guidance)
    results = transform({"image": Picture(200, 200), "streams": RandomStreams(0, 0, 0), "saliency": saliency})
    assert law.drawn == drawn
    assert (crop_iou(results["geometry"]) <= 0.8) == (drawn == 3)


def test_when_redraws_run_out_alike_is_better_than_apart() -> None:
    same, apart = (0, 0, 100, 100, 0), (150, 150, 50, 50, 0)
    law = FixedCrops(apart, same, apart)
    transform = SpatialConsistentPair(64, [FixedCrops(same), law], GridBoxes(min_size=16), max_redraws=4, max_iou=0.5)
    results = transform({"image": Picture(200, 200), "streams": RandomStreams(0, 0, 0), "saliency": guide(1.0)})
    assert law.drawn == 5
    assert results["valid"].all()
    pixel = SpatialConsistentPair(8, boxes={"type": "WholeViewBox"}, max_iou=0.5)
    results = pixel({"image": Picture(1, 1), "streams": RandomStreams(0, 0, 0), "saliency": guide(1.0)})
    np.testing.assert_array_equal(results["geometry"][:, :4], [[0, 0, 1, 1]] * 2)


def test_max_iou_holds_over_many_guided_draws() -> None:
    values = np.zeros((14, 14), np.float32)
    values[6:8, 6:8] = 1
    alike = {}
    for max_iou in (None, 0.6):
        transform = SpatialConsistentPair(
            32, [{"type": "SaliencyCrop", "area": (0.4, 1.0), "lambda_max": 1.0}] * 2, {"type": "WholeViewBox"},
            max_iou=max_iou, max_redraws=50,
        )  # fmt: skip
        blank = SimpleNamespace(height=300, width=400, best_reduction=lambda _: 1)
        alike[max_iou] = 0
        for index in range(150):
            streams = RandomStreams(0, 0, index)
            saliency = SaliencyMap(values, 1.0, 1.0, streams.stream("saliency"))
            alike[max_iou] += crop_iou(transform._draw(blank, streams.stream("crop"), saliency)[0]) > 0.6
    assert alike[None] > 40
    assert alike[0.6] == 0


def test_iou_of_crops_is_that_of_their_pixels() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        masks, geometry = np.zeros((2, 40, 40), bool), np.zeros((2, 5), np.float32)
        for mask, row in zip(masks, geometry):
            x, y = generator.integers(0, 30, 2)
            w, h = generator.integers(1, 40 - x), generator.integers(1, 40 - y)
            mask[y : y + h, x : x + w] = True
            row[:4] = x, y, w, h
        assert crop_iou(geometry) == pytest.approx((masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum())


@pytest.mark.parametrize("max_iou", [0, 1.2, -1])
def test_bad_max_iou_is_named(max_iou: float) -> None:
    with pytest.raises(InputError, match="max_iou"):
        SpatialConsistentPair(64, max_iou=max_iou)


def test_box_law_gets_the_map_the_image_size_and_a_stream_of_its_own() -> None:
    seen = []

    class Spy(GridBoxes):
        def sample(self, geometry, size, generator, saliency=None, image_size=None):
            seen.append((saliency, image_size))
            return super().sample(geometry, size, generator, saliency, image_size)

    transform = SpatialConsistentPair(64, boxes=Spy(min_size=16))
    run(transform, Picture(120, 160))
    transform({"image": Picture(120, 160), "streams": RandomStreams(0, 0, 0), "saliency": guide(0.5)})
    assert seen[0] == (None, (120, 160))
    assert seen[1][0].guidance == 0.5
    expected = RandomStreams(0, 0, 0).stream("box_saliency").random()
    assert seen[1][0].generator.random() == expected
