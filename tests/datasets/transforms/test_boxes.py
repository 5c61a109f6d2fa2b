import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.ops import box_iou

from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.datasets.transforms import BoxLaw, FreeBoxes, GridBoxes, RandomAreaCrop, WholeViewBox
from mmsscl.datasets.transforms.boxes import SharedRegion, shared_region
from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS
from mmsscl.structures import ViewGeometry

SIZE = 224
LAWS = [GridBoxes(), FreeBoxes(), GridBoxes(num_boxes=3, min_size=16, max_iou=0.2), FreeBoxes(num_boxes=30, tries=5)]


def pairs(count: int, seed: int = 0) -> list[np.ndarray]:
    law, generator = RandomAreaCrop(), np.random.default_rng(seed)
    sizes = ((480, 640), (375, 500))
    return [np.stack([law.sample(sizes[i % 2], generator) for _ in range(2)]) for i in range(count)]


def region(width: float, height: float) -> SharedRegion:
    return SharedRegion(0.0, 0.0, 1.0, 1.0, width, height)


@pytest.mark.parametrize("law", LAWS)
def test_shapes_ranges_and_the_same_region_in_both_views(law: BoxLaw) -> None:
    generator = np.random.default_rng(1)
    for geometry in pairs(150):
        boxes, valid = law.sample(geometry, SIZE, generator)
        assert boxes.shape == (2, law.num_boxes, 4)
        assert boxes.dtype == np.float32
        assert valid.shape == (law.num_boxes,)
        assert valid.dtype == bool
        assert boxes.min() >= 0
        assert boxes.max() <= SIZE
        if valid.any():
            assert valid.all()
            in_image = ViewGeometry(geometry.astype(np.float64), SIZE).boxes_to_image(boxes.astype(np.float64))
            np.testing.assert_allclose(in_image[0], in_image[1], atol=2e-4)
            # At least min_size in the coarser view, whichever view that is, so in both.
            assert (boxes[..., 2:] - boxes[..., :2]).min() >= law.min_size - 1e-3


def test_valid_exactly_when_the_views_share_more_than_the_least_side() -> None:
    def geometry(shift_x: int, shift_y: int) -> np.ndarray:
        return np.array([[0, 0, 448, 448, 0], [shift_x, shift_y, 224, 224, 1]], dtype=np.float32)

    generator = np.random.default_rng(0)
    # The first view is the coarser: 2 image pixels to 1 of its own, so 64 shared image pixels are 32.
    for shift_x, shift_y, expected in ((448 - 65, 0, True), (448 - 64, 0, False), (0, 448 - 64, False), (0, 383, True)):
        _, valid = GridBoxes().sample(geometry(shift_x, shift_y), SIZE, generator)
        assert valid.all() == expected
        assert valid.any() == expected


def test_filler_is_the_shared_region_or_the_whole_view() -> None:
    generator = np.random.default_rng(0)
    little = np.array([[0, 0, 224, 224, 1], [200, 100, 224, 224, 0]], dtype=np.float32)
    boxes, valid = GridBoxes(num_boxes=2).sample(little, SIZE, generator)
    assert not valid.any()
    np.testing.assert_allclose(boxes[0], [[0, 100, 24, 224]] * 2)
    np.testing.assert_allclose(boxes[1], [[0, 0, 24, 124]] * 2)
    for x in (224, 300):  # touching, apart
        nothing = np.array([[0, 0, 224, 224, 1], [x, 0, 224, 224, 0]], dtype=np.float32)
        boxes, valid = GridBoxes(num_boxes=2).sample(nothing, SIZE, generator)
        assert not valid.any()
        np.testing.assert_array_equal(boxes, np.broadcast_to(np.float32([0, 0, 224, 224]), (2, 2, 4)))


def slow_choice(law: BoxLaw, area: SharedRegion, generator: np.random.Generator) -> tuple[np.ndarray, int]:
    """The rule as written, box by box, on the same stream of candidates; IoU by torchvision."""
    stream = [law._candidates(area, max(20, law.num_boxes), generator)]
    while sum(map(len, stream)) < law.num_boxes * law.tries:
        stream.append(law._candidates(area, 60, generator))
    candidates = iter(torch.from_numpy(np.concatenate(stream)))
    kept: list[torch.Tensor] = []
    used = 0
    for _ in range(law.num_boxes):
        for _ in range(law.tries):
            box = next(candidates)
            used += 1
            if not kept or box_iou(box[None], torch.stack(kept)).max() < law.max_iou:
                break
        kept.append(box)
    return torch.stack(kept).numpy(), used


@pytest.mark.parametrize("law", [GridBoxes(), FreeBoxes(), FreeBoxes(tries=4, max_iou=0.2), GridBoxes(tries=1)])
@pytest.mark.parametrize("sides", [(200, 180), (70, 90), (33, 40), (32.5, 32.5)])
def test_greedy_rejection_equals_the_rule_box_by_box(law: BoxLaw, sides: tuple[float, float]) -> None:
    for seed in range(3):
        chosen, used = law.choose(region(*sides), np.random.default_rng(seed))
        expected, expected_used = slow_choice(law, region(*sides), np.random.default_rng(seed))
        np.testing.assert_array_equal(chosen, expected)
        assert used == expected_used


def test_accepted_boxes_keep_their_distance_in_view_one() -> None:
    generator = np.random.default_rng(4)
    close = 0
    for geometry in pairs(100, seed=3):
        boxes, valid = GridBoxes(min_size=16).sample(geometry, SIZE, generator)
        if valid.all():
            iou = box_iou(*[torch.from_numpy(boxes[0])] * 2)
            close += int((iou - torch.eye(10) >= 0.5).any())
    # Only pairs whose shared region is a sliver run out of tries.
    assert close <= 3


def test_grid_law_follows_its_definition() -> None:
    law, area = GridBoxes(), region(200.0, 70.0)
    boxes = law._candidates(area, 40_000, np.random.default_rng(5))
    generator = np.random.default_rng(6)
    for axis, extent in enumerate((200.0, 70.0)):
        cells = generator.integers(1, int(extent // 32) + 1, 40_000)
        cell = extent / cells
        side = generator.integers(32, np.floor(cell).astype(int) + 1)
        low = generator.integers(0, cells) * cell + generator.uniform(0, cell - side)
        drawn_side = boxes[:, axis + 2] - boxes[:, axis]
        np.testing.assert_allclose(drawn_side, np.round(drawn_side), atol=1e-9)
        # Plain integers for ks_2samp: rounding noise would break the ties.
        assert stats.ks_2samp(np.round(drawn_side), side).pvalue > 1e-3
        assert stats.ks_2samp(boxes[:, axis], low).pvalue > 1e-3
        assert stats.ks_2samp(boxes[:, axis + 2], low + side).pvalue > 1e-3
    assert abs(np.corrcoef(boxes[:, 0], boxes[:, 1])[0, 1]) < 0.02


def test_free_law_follows_its_definition() -> None:
    boxes = FreeBoxes(min_size=20)._candidates(region(100.0, 60.0), 20_000, np.random.default_rng(7))
    side = boxes[:, 2] - boxes[:, 0]
    assert stats.kstest(side, "uniform", args=(20, 80)).pvalue > 1e-3
    assert stats.kstest(boxes[:, 0] / (100 - side), "uniform").pvalue > 1e-3
    assert boxes[:, 3].max() <= 60


def test_jitter_moves_the_second_views_edges_by_a_share_of_the_side() -> None:
    geometry = np.array([[0, 0, 224, 224, 0], [10, 10, 200, 200, 1]], dtype=np.float32)
    straight, _ = GridBoxes(num_boxes=400, tries=1).sample(geometry, SIZE, np.random.default_rng(8))
    jittered, _ = GridBoxes(num_boxes=400, tries=1, jitter=0.1).sample(geometry, SIZE, np.random.default_rng(8))
    np.testing.assert_array_equal(straight[0], jittered[0])
    sides = np.tile(straight[1, :, 2:] - straight[1, :, :2], 2)
    moved = (jittered[1] - straight[1]) / sides
    inside = ((jittered[1] > 0) & (jittered[1] < SIZE)).all(1)
    assert np.abs(moved).max() <= 0.1 + 1e-5
    assert jittered.min() >= 0
    assert jittered.max() <= SIZE
    for edge in moved[inside].T:
        assert stats.kstest(edge, "uniform", args=(-0.1, 0.2)).pvalue > 1e-4
    assert abs(np.corrcoef(moved[inside, 0], moved[inside, 2])[0, 1]) < 0.25


def test_statistics_are_those_of_the_authors_code() -> None:
    count = 1500
    law, tries, per_image, sides = GridBoxes(), [], [], []
    geometries = pairs(count, seed=9)
    for index, geometry in enumerate(geometries):
        boxes, valid = law.sample(geometry, SIZE, RandomStreams(0, 0, index).stream("box"))
        per_image.append(valid.sum())
        if valid.any():
            sides.append(boxes[0, :, 2:] - boxes[0, :, :2])
            tries.append(law.choose(shared_region(geometry, SIZE), RandomStreams(0, 1, index).stream("box"))[1])
    least = np.array([shared_region(geometry, SIZE).least for geometry in geometries])
    assert (least <= 0).mean() < 0.01  # 0.3 %
    assert 0.004 < ((least > 0) & (least <= 32)).mean() < 0.02  # 1.1 %
    assert abs(np.mean(per_image) - 9.86) < 0.1
    assert abs(np.mean(tries) - 11.7) < 0.6
    side = np.concatenate(sides)
    np.testing.assert_allclose(np.quantile(side, [0.1, 0.5, 0.9]), [34, 49, 110], rtol=0.05)
    assert abs(np.median(side.prod(-1)) / SIZE**2 - 0.055) < 0.005


def test_a_stream_gives_the_same_boxes_again_and_others_other_boxes() -> None:
    geometry = pairs(1)[0]
    draws = [GridBoxes().sample(geometry, SIZE, RandomStreams(0, 0, i).stream("box"))[0] for i in (1, 1, 2)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()


def test_whole_view_box_needs_no_overlap() -> None:
    apart = np.array([[0, 0, 10, 10, 0], [100, 100, 10, 10, 1]], dtype=np.float32)
    boxes, valid = TRANSFORMS.build({"type": "WholeViewBox"}).sample(apart, 96, np.random.default_rng(0))
    np.testing.assert_array_equal(boxes, [[[0, 0, 96, 96]]] * 2)
    assert valid.tolist() == [True]
    assert WholeViewBox.num_boxes == 1


@pytest.mark.parametrize("name", ["GridBoxes", "FreeBoxes"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_boxes", 0),
        ("num_boxes", 2.5),
        ("min_size", 0),
        ("max_iou", 0),
        ("max_iou", 2),
        ("tries", 0),
        ("jitter", 0.5),
    ],
)
def test_bad_arguments_are_named(name: str, key: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name}: {key}={value}"):
        TRANSFORMS.build({"type": name, key: value})
