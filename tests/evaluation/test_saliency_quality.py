"""Scores of maps against brute force over pixels, thresholds and boxes."""
import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from mmsscl.evaluation.saliency_quality import BoxQuality, MaskQuality, enlarge_map, stretch
from mmsscl.saliency.baseline_maps import gaussian_map, uniform_map


def random_cases(count: int = 5) -> list[tuple[np.ndarray, np.ndarray]]:
    """Maps at the size of their masks, so that nothing is interpolated, with values that the mask raises."""
    generator = np.random.default_rng(3)
    cases = []
    for index in range(count):
        mask = np.zeros((23, 31), bool)
        top, left = generator.integers(0, 10, 2)
        mask[top : top + 4 + 2 * index, left : left + 12] = True
        # few values, so that ties are common
        cases.append((np.round(generator.random(mask.shape) + 0.5 * mask, 1) * 3 - 1, mask))
    return cases


def brute_max_f(cases: list[tuple[np.ndarray, np.ndarray]]) -> float:
    best = 0.0
    for threshold in range(256):
        precisions, recalls = [], []
        for values, mask in cases:
            predicted = np.rint((values - values.min()) / (values.max() - values.min()) * 255) >= threshold
            hits = (predicted & mask).sum()
            precisions.append(hits / predicted.sum() if predicted.any() else 0.0)
            recalls.append(hits / mask.sum())
        precision, recall = np.mean(precisions), np.mean(recalls)
        if precision + recall > 0:
            best = max(best, 1.3 * precision * recall / (0.3 * precision + recall))
    return best


def test_mask_scores_equal_brute_force() -> None:
    cases = random_cases()
    quality = MaskQuality()
    absolute, areas, pointing = [], [], []
    for values, mask in cases:
        quality.update(values, mask)
        normal = (values - values.min()) / (values.max() - values.min())
        absolute.append(np.abs(normal - mask).mean())
        u = mannwhitneyu(values[mask], values[~mask]).statistic
        areas.append(u / (mask.sum() * (~mask).sum()))
        pointing.append(mask[values == values.max()].mean())
    scores = quality.compute()
    assert scores["mae"] == pytest.approx(np.mean(absolute), abs=1e-6)
    assert scores["auc"] == pytest.approx(np.mean(areas), abs=1e-9)
    assert scores["pointing"] == pytest.approx(np.mean(pointing), abs=1e-9)
    assert scores["max_f"] == pytest.approx(brute_max_f(cases), abs=1e-9)
    assert 0.1 < scores["max_f"] < 0.99


def test_a_perfect_map_an_inverted_one_and_a_constant_one() -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:20, 5:25] = True
    scores = []
    for values in (mask * 7.0, -mask.astype(float), np.zeros((4, 4))):
        quality = MaskQuality()
        quality.update(values, mask)
        scores.append(quality.compute())
    assert scores[0] == pytest.approx(dict(mae=0, max_f=1, auc=1, pointing=1))
    assert (scores[1]["mae"], scores[1]["auc"], scores[1]["pointing"]) == pytest.approx((1, 0, 0))
    share = mask.mean()
    everything = 1.3 * share / (0.3 * share + 1)
    assert scores[2] == pytest.approx(dict(mae=0.5, max_f=everything, auc=0.5, pointing=share))


def test_precision_and_recall_are_averaged_before_f() -> None:
    """Two images whose best thresholds differ: the mean of their own best F would be one."""
    mask = np.zeros((10, 10), bool)
    mask[:, :5] = True
    quality, lowest, highest = MaskQuality(), np.zeros((10, 10)), np.ones((10, 10))
    lowest[mask], lowest[0, 0] = 0.2, 1.0
    highest[~mask], highest[9, 9] = 0.8, 0.0
    cases = [(lowest, mask), (highest, mask)]
    for values, own in cases:
        quality.update(values, own)
    assert quality.compute()["max_f"] == pytest.approx(brute_max_f(cases))
    assert quality.compute()["max_f"] < 0.95


def test_empty_masks_are_counted_and_full_ones_have_no_roc_curve() -> None:
    quality = MaskQuality()
    quality.update(np.eye(4), np.zeros((4, 4), bool))
    assert quality.left_out == 1
    assert np.isnan(quality.compute()["max_f"])
    quality.update(np.eye(4), np.ones((4, 4), bool))
    scores = quality.compute()
    assert quality.images == 1
    assert scores["pointing"] == 1
    assert np.isnan(scores["auc"])


def test_maps_are_enlarged_between_cell_centres() -> None:
    full = enlarge_map(np.array([[0.0, 1.0]]), (2, 8))
    np.testing.assert_allclose(full, [[0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1]] * 2, atol=1e-6)


def test_stretch_keeps_order_and_survives_constants() -> None:
    np.testing.assert_allclose(stretch(np.array([[-2.0, 0.0, 2.0]])), [[0, 0.5, 1]])
    np.testing.assert_array_equal(stretch(np.full((2, 3), 9.0)), np.full((2, 3), 0.5))


def brute_iou(one: tuple[int, ...], other: tuple[int, ...], size: tuple[int, int]) -> float:
    filled = [np.zeros(size, bool), np.zeros(size, bool)]
    for canvas, (x1, y1, x2, y2) in zip(filled, (one, other), strict=True):
        canvas[y1:y2, x1:x2] = True
    return (filled[0] & filled[1]).sum() / (filled[0] | filled[1]).sum()


@pytest.mark.parametrize("width", range(6, 30, 2))
def test_corloc_counts_iou_of_a_half(width: int) -> None:
    """The map is one at a square of 20; boxes of other widths are found where the IoU says so."""
    values = np.zeros((50, 60))
    values[10:30, 20:40] = 1.0
    box = (20, 10, 20 + width, 30)
    quality = BoxQuality()
    quality.update(values, np.array([[0, 40, 5, 45], box], float), (50, 60))
    expected = brute_iou((20, 10, 40, 30), box, (50, 60)) >= 0.5
    assert quality.compute()["corloc"] == quality.compute()["corloc_part"] == float(expected)


def test_corloc_joins_parts_and_its_variant_takes_the_largest() -> None:
    values = np.zeros((50, 60))
    values[5:25, 5:25], values[40:45, 50:55] = 1.0, 1.0
    quality = BoxQuality()
    quality.update(values, np.array([[5, 5, 25, 25]], float), (50, 60))
    assert quality.compute()["corloc"] == 0
    assert quality.compute()["corloc_part"] == 1


def test_corloc_takes_pixels_at_or_above_the_mean() -> None:
    """Graded maps: the mean is neither their middle nor their median; a box a little off changes the answer."""
    generator = np.random.default_rng(4)
    rows, columns = np.mgrid[:30, :40]
    answers = []
    for case in range(12):
        across, down, width = generator.integers(8, 32), generator.integers(8, 22), generator.uniform(2, 9)
        values = np.exp(-np.hypot(columns - across, rows - down) / width)
        mean = sum(float(value) for value in values.ravel()) / values.size
        inside = [(row, column) for row in range(30) for column in range(40) if values[row, column] >= mean]
        tight = (
            min(column for _, column in inside), min(row for row, _ in inside),
            max(column for _, column in inside) + 1, max(row for row, _ in inside) + 1,
        )  # fmt: skip
        # the box of an IoU just above a half, or just below
        kept = (tight[2] - tight[0]) // 2 + (1 if case % 2 else -1)
        box = (tight[0], tight[1], tight[0] + kept, tight[3])
        answers.append(brute_iou(tight, box, (30, 40)) >= 0.5)
        quality = BoxQuality()
        quality.update(values, np.array([box], float), (30, 40))
        assert quality.compute()["corloc"] == quality.compute()["corloc_part"] == float(answers[-1])
    assert len(set(answers)) == 2


def test_mass_inside_counts_overlapping_boxes_once() -> None:
    generator = np.random.default_rng(0)
    values = generator.random((20, 30))
    boxes = np.array([[2, 3, 12, 10], [5, 5, 20, 18]], float)
    inside = sum(
        values[y, x] for y in range(20) for x in range(30) if any(a <= x < c and b <= y < d for a, b, c, d in boxes)
    )
    quality = BoxQuality()
    quality.update(values, boxes, (20, 30))
    assert quality.compute()["mass_inside"] == pytest.approx(inside / values.sum(), rel=1e-5)


@pytest.mark.parametrize("values", [np.zeros((7, 7)), np.full((7, 7), 0.3)])
def test_a_constant_map_gets_the_boxes_share_and_the_whole_image(values: np.ndarray) -> None:
    quality = BoxQuality()
    quality.update(values, np.array([[0, 0, 80, 60]], float), (90, 100))
    quality.update(values, np.zeros((0, 4)), (90, 100))
    assert quality.compute()["mass_inside"] == pytest.approx(80 * 60 / 9000, rel=1e-5)
    assert quality.compute()["corloc"] == 1
    assert (quality.images, quality.left_out) == (1, 1)


def test_baselines_know_the_centre_or_nothing() -> None:
    gaussian = gaussian_map((6, 10))
    np.testing.assert_allclose(gaussian, gaussian[::-1, ::-1])
    rows, columns = np.mgrid[:6, :10]
    expected = np.exp(-8 * (((rows + 0.5) / 6 - 0.5) ** 2 + ((columns + 0.5) / 10 - 0.5) ** 2))
    np.testing.assert_allclose(gaussian, expected, rtol=1e-5)
    assert uniform_map(14).shape == (14, 14)
    assert np.ptp(uniform_map(14)) == 0
