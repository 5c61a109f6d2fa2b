import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.ops import box_iou

from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.datasets.transforms import GridBoxes, RandomAreaCrop, SaliencyBoxes
from mmsscl.datasets.transforms.boxes import shared_region
from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS
from mmsscl.structures import ViewGeometry
from mmsscl.structures.saliency_map import SaliencyMap

SIZE, IMAGE = 224, (480, 640)
WHOLE = np.array([[0, 0, 224, 224, 0], [0, 0, 224, 224, 1]], dtype=np.float32)


def saliency(values: np.ndarray, guidance: float = 1.0, seed: int = 0) -> SaliencyMap:
    return SaliencyMap(np.asarray(values, np.float32), guidance, 1.0, np.random.default_rng(seed))


def pairs(count: int) -> list[np.ndarray]:
    law, generator = RandomAreaCrop(), np.random.default_rng(0)
    return [np.stack([law.sample(IMAGE, generator) for _ in range(2)]) for _ in range(count)]


def left_half() -> np.ndarray:
    values = np.zeros((14, 14))
    values[:, :7] = 1
    return values


@pytest.mark.parametrize("jitter", [0.0, 0.1])
def test_without_guidance_they_are_grid_boxes_to_the_bit(jitter: float) -> None:
    plain, guided = GridBoxes(jitter=jitter), SaliencyBoxes(jitter=jitter)
    for index, geometry in enumerate(pairs(40)):
        expected = plain.sample(geometry, SIZE, RandomStreams(0, 0, index).stream("box"))
        for absent in (None, saliency(left_half(), 0.0)):
            found = guided.sample(geometry, SIZE, RandomStreams(0, 0, index).stream("box"), absent, IMAGE)
            for one, other in zip(expected, found):
                np.testing.assert_array_equal(one, other)
            if absent is not None:
                assert absent.generator.random() == np.random.default_rng(0).random()  # untouched


@pytest.mark.parametrize("guidance", [0.3, 1.0])
def test_the_first_stay_plain_and_the_others_give_way_in_proportion_to_guidance(guidance: float) -> None:
    law, changed = SaliencyBoxes(max_iou=1.0), []
    for index, geometry in enumerate(pairs(300)):
        one, other = (RandomStreams(0, 0, index).stream("box") for _ in range(2))
        plain, valid = GridBoxes(max_iou=1.0).sample(geometry, SIZE, one)
        boxes, _ = law.sample(geometry, SIZE, other, saliency(left_half(), guidance, index), IMAGE)
        np.testing.assert_array_equal(plain[:, :3], boxes[:, :3])
        assert one.random() == other.random()  # the plain stream moves on as ever
        if valid.all():
            changed.append((plain[0] != boxes[0]).any(axis=1).sum())
    # Those given up are in the pool: a few of 37 come back.
    assert 0.75 * 7 * guidance < np.mean(changed) <= 7 * guidance + 0.3
    assert max(changed) <= 7


class FixedPool(SaliencyBoxes):
    """Hands out the same candidates, so that the choice can be counted."""

    boxes = np.array([[0, 0, 40, 40], [0, 0, 100, 60], [50, 100, 224, 200], [100, 0, 150, 224], [8, 8, 60, 70]], float)

    def _candidates(self, region, count, generator):
        return self.boxes.copy()


def test_choice_without_replacement_follows_the_softmax_by_brute_force() -> None:
    # Two boxes, both guided, of five candidates and the first two of them again (the plain boxes given up).
    law = FixedPool(num_boxes=2, guided=2, max_iou=1.0, tries=1, temperature=0.3)
    values = np.random.default_rng(1).random((7, 7)).astype(np.float32)
    pixels = np.kron(values.astype(np.float64), np.ones((32, 32)))
    pool = FixedPool.boxes[[0, 1, 0, 1, 2, 3, 4]].astype(int)
    means = np.array([pixels[y1:y2, x1:x2].mean() for x1, y1, x2, y2 in pool])
    weights = np.exp(means / 0.3)
    first = weights / weights.sum()
    names = np.array([0, 1, 0, 1, 2, 3, 4])
    expected = np.zeros((5, 5))
    for i in range(7):
        for j in range(7):
            # IoU 1 is passed over even at max_iou=1, so equal boxes are never both taken.
            rivals = names != names[i]
            if rivals[j]:
                expected[names[i], names[j]] += first[i] * first[j] / first[rivals].sum()
    guide, count = saliency(values), 5000
    found = np.zeros((5, 5))
    for _ in range(count):
        boxes, _ = law.sample(WHOLE, SIZE, np.random.default_rng(0), guide, (224, 224))
        i, j = (int(np.where((box == FixedPool.boxes).all(axis=1))[0][0]) for box in boxes[0])
        found[i, j] += 1
    possible = expected > 0
    assert not found[~possible].any()
    assert stats.chisquare(found[possible], expected[possible] * count).pvalue > 1e-3


def test_boxes_seek_the_salient_half_of_the_image_in_both_views() -> None:
    law, flips = SaliencyBoxes(num_boxes=10, guided=10, min_size=16, temperature=0.01), set()
    inside, plain_inside = [], []
    for index, geometry in enumerate(pairs(60)):
        generator = RandomStreams(0, 0, index).stream("box")
        boxes, valid = law.sample(geometry, SIZE, generator, saliency(left_half(), 1.0, index), IMAGE)
        shared = shared_region(geometry, SIZE)
        if not valid.all() or not shared.left < 200 < 440 < shared.left + shared.width / shared.scale_x:
            continue
        flips.add(tuple(geometry[:, 4]))
        in_image = ViewGeometry(geometry.astype(np.float64), SIZE).boxes_to_image(boxes.astype(np.float64))
        np.testing.assert_allclose(in_image[0], in_image[1], atol=1e-3)
        inside.append((in_image[0][:, 2] <= 321).mean())
        plain, _ = GridBoxes(min_size=16).sample(geometry, SIZE, generator)
        plain = ViewGeometry(geometry.astype(np.float64), SIZE).boxes_to_image(plain.astype(np.float64))
        plain_inside.append((plain[0][:, 2] <= 321).mean())
    assert len(flips) == 4
    assert np.mean(inside) > 0.85
    assert np.mean(plain_inside) < 0.6


@pytest.mark.parametrize("values", [np.zeros((14, 14)), np.ones((14, 14)), left_half(), np.eye(14)])
def test_shapes_sides_overlap_and_fillers(values: np.ndarray) -> None:
    law = SaliencyBoxes(jitter=0.0)
    apart = np.array([[0, 0, 100, 100, 0], [300, 300, 100, 100, 1]], dtype=np.float32)
    for index, geometry in enumerate([*pairs(40), apart]):
        with np.errstate(all="raise"):
            boxes, valid = law.sample(geometry, SIZE, RandomStreams(0, 0, index).stream("box"), saliency(values), IMAGE)
        assert boxes.shape == (2, 10, 4)
        assert boxes.dtype == np.float32
        assert valid.all() == valid.any() == (shared_region(geometry, SIZE).least > 32)
        assert boxes.min() >= 0
        assert boxes.max() <= SIZE
        if valid.all():
            assert (boxes[..., 2:] - boxes[..., :2]).min() >= 32 - 1e-3
        region = shared_region(geometry, SIZE)
        if region.least > 130:  # room for ten boxes apart
            iou = box_iou(*[torch.from_numpy(boxes[0])] * 2).fill_diagonal_(0)
            assert iou.max() < 0.5 + 1e-4


def test_a_region_too_small_for_boxes_apart_still_gets_all() -> None:
    little = np.array([[0, 0, 224, 224, 0], [224 - 34, 224 - 34, 224, 224, 0]], dtype=np.float32)
    boxes, valid = SaliencyBoxes(tries=2).sample(little, SIZE, np.random.default_rng(0), saliency(np.eye(14)), IMAGE)
    assert valid.all()
    assert (boxes[:, :, 2:] > boxes[:, :, :2]).all()


def test_building_defaults_and_missing_image_size() -> None:
    law = TRANSFORMS.build({"type": "SaliencyBoxes", "num_boxes": 4, "min_size": 16})
    assert (law.num_boxes, law.guided, law.candidates) == (4, 3, 30)
    with pytest.raises(InputError, match="image_size"):
        law.sample(WHOLE, SIZE, np.random.default_rng(0), saliency(np.eye(3)))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [({"guided": 11}, "guided"), ({"guided": -1}, "guided"), ({"candidates": 0}, "candidates"),
     ({"temperature": -1}, "temperature"), ({"num_boxes": 0}, "num_boxes")],
)  # fmt: skip
def test_bad_arguments_are_named(arguments: dict, word: str) -> None:
    with pytest.raises(InputError, match=f"SaliencyBoxes.*{word}"):
        SaliencyBoxes(**arguments)
