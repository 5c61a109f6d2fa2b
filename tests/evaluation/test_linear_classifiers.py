import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from mmsscl.errors import InputError
from mmsscl.evaluation.linear_classifiers import (
    LOGISTIC_COSTS,
    few_shots,
    logistic_scores,
    svm_scores,
    unit_rows,
    voc_average_precision,
)


def clusters(count, classes=3, spread=0.6, seed=0):
    """Features around a point for each class, and their labels."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, 10))
    labels = np.arange(count) % classes
    return (centres[labels] + spread * generator.normal(size=(count, 10))).astype(np.float32), labels


def average_precision_by_hand(scores, targets):
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(targets[order])
    precision, recall = right / np.arange(1, len(order) + 1), right / targets.sum()
    points = [precision[recall >= point - 1e-9].max(initial=0) for point in np.arange(11) / 10]
    return 100 * np.mean(points)


def test_average_precision_is_that_of_eleven_points():
    generator = np.random.default_rng(0)
    for _ in range(20):
        scores, targets = generator.normal(size=40), generator.random(40) < 0.3
        targets[0] = True
        assert voc_average_precision(scores, targets) == pytest.approx(average_precision_by_hand(scores, targets))
    assert voc_average_precision(np.arange(5.0), np.arange(5) > 2) == 100
    # by hand: the one positive is third of five: precision 1/3 at every recall
    assert voc_average_precision(np.array([5.0, 4, 3, 2, 1]), np.arange(5) == 2) == pytest.approx(100 / 3)
    with pytest.raises(InputError, match="no photo shows the class"):
        voc_average_precision(np.arange(3.0), np.zeros(3, bool))


def test_one_cost_gives_scikit_learns_machine():
    (features, labels), (queries, _) = clusters(60), clusters(30, seed=1)
    targets = np.eye(3, dtype=bool)[labels]
    scores, costs = svm_scores(features, targets, queries, costs=[1.0])
    assert costs == [1.0] * 3
    machine = LinearSVC(C=1.0, class_weight={1: 2, 0: 1}, max_iter=2000, random_state=0)
    wanted = machine.fit(unit_rows(features), targets[:, 1].astype(int)).decision_function(unit_rows(queries))
    np.testing.assert_allclose(scores[:, 1], wanted, rtol=1e-4, atol=1e-5)


def test_svm_tells_clusters_apart_and_noise_not():
    (features, labels), (queries, wanted) = clusters(90), clusters(60, seed=1)
    scores, costs = svm_scores(features, np.eye(3, dtype=bool)[labels], queries)
    assert (scores.argmax(1) == wanted).mean() > 0.95
    assert all(cost in (0.01, 0.1, 1.0, 10.0) for cost in costs)
    noise = np.random.default_rng(2).normal(size=features.shape).astype(np.float32)
    scores, _ = svm_scores(noise, np.eye(3, dtype=bool)[labels], queries)
    assert (scores.argmax(1) == wanted).mean() < 0.6


def test_photos_of_several_classes():
    features, labels = clusters(90, spread=0.2)
    targets = np.eye(3, dtype=bool)[labels] | np.eye(3, dtype=bool)[(labels + 1) % 3]
    scores, _ = svm_scores(features, targets, features)
    assert np.mean([voc_average_precision(scores[:, label], targets[:, label]) for label in range(3)]) > 99


def test_logistic_regression_is_scikit_learns():
    (features, labels), (queries, _) = clusters(60), clusters(30, seed=1)
    scores, cost = logistic_scores(features, labels, queries, costs=[10.0])
    mean, std = features.mean(0), features.std(0)
    machine = LogisticRegression(C=10.0 / 60, max_iter=300).fit((features - mean) / std, labels)
    assert cost == 10.0
    np.testing.assert_allclose(scores, machine.predict_log_proba((queries - mean) / std), atol=2e-3)


def test_logistic_regression_chooses_a_cost_that_fits():
    (features, labels), (queries, wanted) = clusters(200, 4), clusters(100, 4, seed=1)
    scores, cost = logistic_scores(features, labels, queries)
    assert (scores.argmax(1) == wanted).mean() > 0.9
    assert cost in LOGISTIC_COSTS
    np.testing.assert_allclose(np.exp(scores).sum(1), 1, rtol=1e-4)


def test_few_shots_are_of_every_class_and_follow_the_generator():
    targets = np.eye(4, dtype=bool)[np.arange(40) % 4]
    targets[::8, 1] = True
    rows = few_shots(targets, 3, np.random.default_rng(5))
    assert (targets[rows].sum(0) >= 3).all()
    assert 9 <= len(rows) <= 12
    np.testing.assert_array_equal(rows, few_shots(targets, 3, np.random.default_rng(5)))
    assert not np.array_equal(rows, few_shots(targets, 3, np.random.default_rng(6)))
    np.testing.assert_array_equal(few_shots(targets[:4], 1, np.random.default_rng(0)), [0, 1, 2, 3])
    for shots in (0, 11):
        with pytest.raises(InputError, match=rf"{shots} shots: class \d has 10 photos. Ask for 1 to 10"):
            few_shots(targets, shots, np.random.default_rng(0))


def test_a_class_that_nothing_shows_is_told():
    features, labels = clusters(12)
    targets = np.eye(4, dtype=bool)[labels]
    with pytest.raises(InputError, match="class 3: has no photo to learn from"):
        svm_scores(features, targets, features)
    with pytest.raises(InputError, match="class 0: has no photo without it"):
        svm_scores(features, np.ones((12, 1), bool), features)
    with pytest.raises(InputError, match=r"class 2: has 1 photo\(s\)"):
        logistic_scores(features[:5], np.array([0, 0, 1, 1, 2]), features)


def test_unit_rows_leave_zeros():
    np.testing.assert_allclose(unit_rows(np.array([[3.0, 4], [0, 0]])), [[0.6, 0.8], [0, 0]])
