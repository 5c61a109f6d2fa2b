"""What must hold of crops and boxes for any image, any map and any seed."""
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsscl.datasets.transforms import FreeBoxes, GridBoxes, RandomAreaCrop, SaliencyBoxes, SaliencyCrop
from mmsscl.datasets.transforms.integral_image import MapIntegral
from mmsscl.structures import SaliencyMap, ViewGeometry

many = settings(max_examples=150, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
# from one pixel to a panorama
image_sizes = st.tuples(st.integers(1, 6000), st.integers(1, 30_000))


@st.composite
def area_and_ratio(draw):
    least = draw(st.floats(0.001, 1.0))
    narrow = draw(st.floats(0.05, 5.0))
    return dict(area=(least, draw(st.floats(least, 1.0))), ratio=(narrow, draw(st.floats(narrow, 20.0))))


@st.composite
def saliency_maps(draw):
    """Noise, one bright cell, all zeros or all ones, on any grid."""
    rows, columns = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    kind = draw(st.sampled_from(["noise", "cell", "zeros", "ones"]))
    values = np.zeros((rows, columns), np.float32) if kind != "ones" else np.ones((rows, columns), np.float32)
    if kind == "noise":
        values = np.random.default_rng(draw(seeds)).random((rows, columns), dtype=np.float32)
    elif kind == "cell":
        values[draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))] = 1.0
    return SaliencyMap(values, draw(st.floats(0, 1)), draw(st.floats(0, 1)), np.random.default_rng(draw(seeds)))


def assert_inside(crop, image_size):
    x, y, w, h, flip = crop.tolist()
    assert crop.dtype == np.float32
    assert np.array_equal(crop, np.round(crop))
    assert w >= 1
    assert h >= 1
    assert x >= 0
    assert y >= 0
    assert x + w <= image_size[1]
    assert y + h <= image_size[0]
    assert flip in (0, 1)


@many
@given(image_size=image_sizes, law=area_and_ratio(), seed=seeds)
def test_a_crop_lies_in_its_image(image_size, law, seed):
    generator = np.random.default_rng(seed)
    for _ in range(3):
        assert_inside(RandomAreaCrop(**law).sample(image_size, generator), image_size)


@many
@given(image_size=image_sizes, law=area_and_ratio(), saliency=saliency_maps(), seed=seeds)
def test_saliency_moves_a_crop_and_changes_nothing_else(image_size, law, saliency, seed):
    guided = SaliencyCrop(**law, lambda_max=1.0).sample(image_size, np.random.default_rng(seed), saliency)
    plain = RandomAreaCrop(**law).sample(image_size, np.random.default_rng(seed))
    assert_inside(guided, image_size)
    assert np.array_equal(guided[2:], plain[2:])
    if saliency.guidance == 0:
        assert np.array_equal(guided, plain)


@st.composite
def pairs_of_crops(draw):
    height, width = draw(st.integers(40, 3000)), draw(st.integers(40, 3000))
    generator = np.random.default_rng(draw(seeds))
    law = RandomAreaCrop(area=(draw(st.floats(0.02, 1.0)), 1.0), flip=0.5)
    return np.stack([law.sample((height, width), generator) for _ in range(2)]), (height, width)


@many
@given(
    pair=pairs_of_crops(),
    kind=st.sampled_from([GridBoxes, FreeBoxes, SaliencyBoxes]),
    number=st.integers(1, 12),
    least=st.integers(2, 48),
    size=st.integers(64, 256),
    saliency=st.none() | saliency_maps(),
    seed=seeds,
)
def test_boxes_of_a_row_show_the_same_place(pair, kind, number, least, size, saliency, seed):
    geometry, image_size = pair
    boxes, valid = kind(num_boxes=number, min_size=least).sample(
        geometry, size, np.random.default_rng(seed), saliency, image_size
    )
    assert boxes.shape == (2, number, 4)
    assert boxes.dtype == np.float32
    assert valid.shape == (number,)
    assert valid.dtype == np.bool_
    assert np.isfinite(boxes).all()
    assert boxes.min() >= 0
    assert boxes.max() <= size
    if not valid.any():
        return
    sides = boxes[:, valid, 2:] - boxes[:, valid, :2]
    assert sides.min() > 0
    # of the coarser view, in whose pixels the least side is meant
    assert sides.min(axis=0).min() >= least - 1e-2
    in_image = ViewGeometry(geometry.astype(np.float64), size).boxes_to_image(boxes.astype(np.float64))
    pixel = geometry[:, 2:4].max() / size
    assert np.abs(in_image[0, valid] - in_image[1, valid]).max() < 1e-3 * size * pixel


@many
@given(pair=pairs_of_crops(), size=st.integers(16, 512), seed=seeds)
def test_boxes_go_to_the_image_and_back(pair, size, seed):
    geometry, _ = pair
    views = ViewGeometry(geometry.astype(np.float64), size)
    corners = np.random.default_rng(seed).uniform(0, size, (2, 7, 2, 2))
    boxes = np.concatenate([corners.min(2), corners.max(2)], axis=-1)
    assert np.allclose(views.boxes_to_view(views.boxes_to_image(boxes)), boxes, atol=1e-6 * size)


@many
@given(saliency=saliency_maps(), image_size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)), seed=seeds)
def test_integrals_add_up(saliency, image_size, seed):
    """Any cut of the image in four leaves the sum; means and scores stay in [0, 1]."""
    integral, generator = MapIntegral(saliency.values), np.random.default_rng(seed)
    height, width = image_size
    x, y = generator.uniform(0, width), generator.uniform(0, height)
    quarters = np.array([[0, 0, x, y], [x, 0, width, y], [0, y, x, height], [x, y, width, height]])
    assert np.isclose(integral.sums(quarters, image_size).sum(), integral.total, rtol=1e-9, atol=1e-9)
    for values in (integral.means(quarters, image_size), integral.scores(quarters, image_size)):
        assert values.min() >= 0
        assert values.max() <= 1 + 1e-6
