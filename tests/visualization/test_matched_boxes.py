"""Pictures of views and boxes: colors match, boxes land where they belong."""
import cv2
import numpy as np
import pytest
import torch

from mmsscl.errors import InputError
from mmsscl.structures.view_geometry import ViewGeometry
from mmsscl.visualization.canvas import beside, contact_sheet, distinct_colors, enlarge, put_label, write_png
from mmsscl.visualization.matched_boxes import CROP_COLORS, draw_original, draw_views, to_pixels

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def gray_views(size: int = 96) -> list[torch.Tensor]:
    return [torch.full((3, size, size), 128, dtype=torch.uint8)] * 2


def pixels_of(picture: np.ndarray, color: np.ndarray) -> np.ndarray:
    return (picture == color).all(-1)


@pytest.mark.parametrize("count", [0, 1, 2, 10, 40])
def test_colors_are_distinct(count: int) -> None:
    colors = distinct_colors(count)
    assert colors.shape == (count, 3)
    assert colors.dtype == np.uint8
    assert len(np.unique(colors, axis=0)) == count
    if count == 10:
        distance = np.linalg.norm(colors[:, None].astype(float) - colors[None], axis=-1) + 1000 * np.eye(10)
        assert distance.min() > 60


def test_denormalise_gives_the_pixels_back() -> None:
    view = torch.randint(0, 256, (3, 8, 9), dtype=torch.uint8)
    normalised = (view.float() - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    expected = view.permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(to_pixels(normalised, MEAN, STD), expected)
    np.testing.assert_array_equal(to_pixels(view), expected)
    assert np.abs(to_pixels(normalised.bfloat16(), MEAN, STD).astype(int) - expected).max() <= 2
    np.testing.assert_array_equal(to_pixels(torch.tensor([300.0, -4.0, 7.6]).view(3, 1, 1)), [[[255, 0, 8]]])


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        to_pixels(torch.zeros(8, 8, 3))


def test_boxes_have_the_same_color_in_both_views() -> None:
    boxes = np.array([[[4, 40, 44, 90], [50, 50, 90, 94]], [[30, 30, 70, 80], [2, 60, 28, 94]]], np.float32)
    picture = draw_views(gray_views(), boxes, side=96)
    assert picture.shape == (96, 96 * 2 + 6, 3)
    assert picture.dtype == np.uint8
    for index, color in enumerate(distinct_colors(2)):
        for view, offset in enumerate((0, 102)):
            found = pixels_of(picture[:, offset : offset + 96], color)
            x1, y1, x2, y2 = boxes[view, index].astype(int)
            # the two lower corners; the label covers the upper left one
            assert found[y2 - 1, x1 + 4 : x2].all()
            assert found[y1 + 20 : y2, x2 - 1].all()
            rows, columns = np.nonzero(found)
            assert columns.max() <= x2
            assert rows.max() <= y2
            assert not found[y1 + 20 : y2 - 4, (x1 + x2) // 2].any()


def test_invalid_boxes_are_left_out_and_others_keep_their_color() -> None:
    boxes = np.tile(np.array([[10, 10, 60, 60], [30, 30, 90, 90]], np.float32), (2, 1, 1))
    picture = draw_views(gray_views(), boxes, torch.tensor([False, True]), side=96)
    first, second = distinct_colors(2)
    assert not pixels_of(picture, first).any()
    assert pixels_of(picture, second).any()
    none = draw_views(gray_views(), boxes, np.zeros(2, bool), side=96)
    assert (none[:, :96] == 128).all()


def test_views_are_not_changed() -> None:
    views = gray_views()
    draw_views(views, np.array([[[1, 1, 50, 50]]] * 2, np.float32), side=96)
    assert all((view == 128).all() for view in views)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_boxes_are_mapped_back_to_the_original(flip: float) -> None:
    image = np.full((200, 320, 3), 90, np.uint8)
    geometry = np.array([[20, 30, 200, 160, 0], [60, 10, 240, 170, flip]], np.float32)
    wanted = np.array([[110.0, 80.0, 190.0, 160.0]], np.float32)
    boxes = ViewGeometry(geometry, 96).boxes_to_view(np.stack([wanted, wanted]))
    picture = draw_original(image, geometry, boxes, view_size=96, side=320)
    assert picture.shape == image.shape
    # view 2's thin black line runs inside view 1's thick one
    black = pixels_of(picture, np.array([0, 0, 0]))
    x1, y1, x2, y2 = wanted[0].astype(int)
    assert black[y1, x1:x2].all()
    assert black[y2 - 1, x1:x2].all()
    assert black[y1:y2, x2 - 1].all()
    color = pixels_of(picture, distinct_colors(1)[0])
    assert color[y1 - 1, x1:x2].all()
    assert color[y1 + 1, x1 + 2 : x2 - 2].all()
    for number, (x, y, width, height, _) in enumerate(geometry.astype(int)):
        outline = pixels_of(picture, np.array(CROP_COLORS[number]))
        assert outline[y + height - 1, x + 2 : x + width - 2].mean() > 0.9
        assert outline[y + 60 : y + height, x].mean() > 0.9


def test_original_decoded_at_a_part_of_its_size() -> None:
    geometry = np.array([[400, 400, 800, 800, 0]] * 2, np.float32)
    boxes = np.array([[[0, 0, 96, 96]]] * 2, np.float32)
    small = np.full((200, 300, 3), 90, np.uint8)
    picture = draw_original(small, geometry, boxes, view_size=96, side=300, image_size=(1600, 2400))
    rows, columns = np.nonzero(pixels_of(picture, distinct_colors(1)[0]))
    assert abs(columns.max() - 150) <= 2
    assert abs(rows.max() - 150) <= 2


def test_contact_sheet_and_png(tmp_path) -> None:
    tiles = [np.full((20 + 10 * i, 40, 3), 50 * i, np.uint8) for i in range(5)]
    sheet = contact_sheet(tiles, columns=2, tile_width=40, gap=4)
    assert sheet.shape == (30 + 50 + 60 + 2 * 4, 84, 3)
    assert (sheet[34 + 54 :][:60, :40] == 200).all()
    path = write_png(tmp_path / "new" / "sheet.png", sheet)
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], sheet)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written"):
        write_png(tmp_path / "file" / "sheet.png", sheet)


def test_labels_stay_inside_the_picture() -> None:
    picture = np.full((40, 120, 3), 200, np.uint8)
    put_label(picture, "würfel 1.00", (500, 500))
    rows, columns = np.nonzero((picture == 255).all(-1))
    assert columns.max() == 119
    assert rows.max() == 39
    assert (picture[:15] == 200).all()
    assert picture.min() < 60
    dark = np.full((40, 120, 3), 200, np.uint8)
    put_label(dark, "disc", (0, 0), (0, 0, 255))
    assert dark.min(-1).max() > 230


def test_enlarge_keeps_colors_and_side_by_side_keeps_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    assert enlarge(image, 2.0).shape == (20, 24, 3)
    np.testing.assert_array_equal(enlarge(image, 1), image)
    both = beside([image, image[:5]], gap=3)
    np.testing.assert_array_equal(both[:10, :12], image)
    np.testing.assert_array_equal(both[:5, 15:], image[:5])
