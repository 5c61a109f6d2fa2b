import numpy as np
import pytest
import torch

from mmsscl.structures import ViewGeometry

GEOMETRY = np.array([[100.0, 50.0, 448.0, 336.0, 1.0], [20.0, 70.0, 150.0, 112.0, 0.0]])


def brute_force(x: float, y: float, geometry: np.ndarray, width: int, height: int) -> tuple[float, float]:
    left, top, w, h, flip = geometry
    across, down = (x - left) / w * width, (y - top) / h * height
    return (width - across if flip else across), down


def random_boxes(generator: np.random.Generator, *shape: int) -> np.ndarray:
    low = generator.uniform(-50, 400, (*shape, 2))
    return np.concatenate([low, low + generator.uniform(1, 200, (*shape, 2))], axis=-1)


def test_boxes_map_as_their_corners_do() -> None:
    boxes = random_boxes(np.random.default_rng(0), 2, 7)
    mapped = ViewGeometry(GEOMETRY, (96, 128)).boxes_to_view(boxes)
    for view in range(2):
        for k in range(7):
            x1, y1, x2, y2 = boxes[view, k]
            corners = [brute_force(x, y, GEOMETRY[view], 128, 96) for x in (x1, x2) for y in (y1, y2)]
            expected = [*np.min(corners, axis=0), *np.max(corners, axis=0)]
            np.testing.assert_allclose(mapped[view, k], expected, atol=1e-9)


def test_flip_takes_both_edges_from_the_old_values() -> None:
    view = ViewGeometry(np.array([0.0, 0.0, 100.0, 100.0, 1.0]), 100)
    np.testing.assert_array_equal(view.boxes_to_view(np.array([[10.0, 20.0, 40.0, 60.0]])), [[60, 20, 90, 60]])


def test_the_crop_fills_the_view_and_the_pixel_moves_as_numpy_flips_it() -> None:
    views = ViewGeometry(GEOMETRY, 224)
    np.testing.assert_allclose(views.boxes_to_view(views.crop[:, None]), [[[0, 0, 224, 224]]] * 2, atol=1e-9)
    np.testing.assert_allclose(views.scale, [[0.5, 224 / 336], [224 / 150, 2.0]])
    # A view of the crop's own size: image pixel (row, column) must land where slicing and flipping puts it.
    image = np.arange(12 * 17).reshape(12, 17)
    geometry = np.array([3.0, 2.0, 8.0, 6.0, 1.0])
    pixels = image[2:8, 3:11][:, ::-1]
    centre = ViewGeometry(geometry, (6, 8)).points_to_view(np.array([[4.5, 5.5]]))[0]
    assert pixels[int(centre[1]), int(centre[0])] == image[5, 4]


def test_maps_are_inverse() -> None:
    generator = np.random.default_rng(1)
    views = ViewGeometry(GEOMETRY, 224)
    boxes, points = random_boxes(generator, 2, 5), generator.uniform(0, 400, (2, 5, 2))
    np.testing.assert_allclose(views.boxes_to_image(views.boxes_to_view(boxes)), boxes, atol=1e-9)
    np.testing.assert_allclose(views.points_to_image(views.points_to_view(points)), points, atol=1e-9)
    np.testing.assert_allclose(views.points_to_view(boxes[..., :2])[0, :, 0], views.boxes_to_view(boxes)[0, :, 2])


@pytest.mark.parametrize("name", ["boxes_to_view", "boxes_to_image", "clip"])
def test_torch_gives_what_numpy_gives(name: str) -> None:
    boxes = random_boxes(np.random.default_rng(2), 3, 2, 4)
    expected = getattr(ViewGeometry(GEOMETRY, 224), name)(boxes)
    result = getattr(ViewGeometry(torch.from_numpy(GEOMETRY), 224), name)(torch.from_numpy(boxes))
    assert isinstance(result, torch.Tensor)
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-9)
    points = boxes[..., :2]
    for method in ("points_to_view", "points_to_image"):
        expected = getattr(ViewGeometry(GEOMETRY, 224), method)(points)
        result = getattr(ViewGeometry(torch.from_numpy(GEOMETRY), 224), method)(torch.from_numpy(points))
        np.testing.assert_allclose(result.numpy(), expected, atol=1e-9)


def test_float32_batches_keep_their_type_and_precision() -> None:
    geometry = np.tile(GEOMETRY.astype(np.float32), (6, 1, 1))
    boxes = random_boxes(np.random.default_rng(3), 6, 2, 10).astype(np.float32)
    views = ViewGeometry(geometry, 224)
    mapped = views.boxes_to_view(boxes)
    assert mapped.dtype == np.float32
    assert mapped.shape == (6, 2, 10, 4)
    np.testing.assert_allclose(views.boxes_to_image(mapped), boxes, atol=1e-3)


def test_clip_uses_width_for_x_and_height_for_y() -> None:
    clipped = ViewGeometry(GEOMETRY[0], (50, 100)).clip(np.array([[-5.0, -5.0, 120.0, 120.0], [60.0, 10, 99, 20]]))
    np.testing.assert_array_equal(clipped, [[0, 0, 100, 50], [60, 10, 99, 20]])
