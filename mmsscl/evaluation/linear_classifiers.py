"""Linear classifiers on frozen features, by scikit-learn: one SVM a class, or one logistic regression for all."""
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from mmsscl.errors import InputError

SVM_COSTS = (0.01, 0.1, 1.0, 10.0)
LOGISTIC_COSTS = (1.0, 10.0, 100.0, 1000.0, 10000.0)
_FOLDS = 3


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Each row over its length; a row of zeros stays."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def svm_scores(
    features: np.ndarray, targets: np.ndarray, queries: np.ndarray, costs: Sequence[float] = SVM_COSTS, seed: int = 0
) -> tuple[np.ndarray, list[float]]:
    """One linear SVM a class against the rest, on features of unit length.

    As in Goyal et al., Scaling and Benchmarking Self-Supervised Visual Representation Learning (ICCV 2019), section 6.1:
    squared hinge loss, positives weigh twice, and each class takes the cost with the best mean average precision over
    three folds. Where a class has fewer than three positives or negatives, the largest cost is taken.

    Args:
        features: (N, C), of the labelled photos.
        targets: bool (N, classes).
        queries: (M, C).
        costs: To choose from.
        seed: Of the folds and of the solver.

    Returns:
        float32 (M, classes), and the cost of each class.

    Raises:
        InputError: A class has no positive or no negative.
    """
    from sklearn.metrics import average_precision_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.svm import LinearSVC

    rows, asked = unit_rows(features), unit_rows(queries)
    scores, chosen = np.zeros((len(queries), targets.shape[1]), np.float32), []

    def machine(cost: float) -> LinearSVC:
        return LinearSVC(C=cost, class_weight={1: 2, 0: 1}, max_iter=2000, random_state=seed)

    for label in range(targets.shape[1]):
        wanted = targets[:, label].astype(int)
        fewest = min(wanted.sum(), len(wanted) - wanted.sum())
        if fewest == 0:
            what = "photo" if wanted.sum() == 0 else "photo without it"
            raise InputError(f"class {label}: has no {what} to learn from. Give a split that holds every class.")
        cost = max(costs)
        if fewest >= _FOLDS and len(costs) > 1:
            folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
            precision = {}
            for candidate in costs:
                with _patient():
                    held = cross_val_predict(machine(candidate), rows, wanted, cv=folds, method="decision_function")
                precision[candidate] = average_precision_score(wanted, held)
            cost = max(costs, key=lambda value: (precision[value], -value))
        with _patient():
            scores[:, label] = machine(cost).fit(rows, wanted).decision_function(asked)
        chosen.append(float(cost))
    return scores, chosen


def logistic_scores(
    features: np.ndarray, labels: np.ndarray, queries: np.ndarray, costs: Sequence[float] = LOGISTIC_COSTS, seed: int = 0
) -> tuple[np.ndarray, float]:
    """Multinomial logistic regression on features of zero mean and unit variance: a linear probe in seconds.

    The cost (inverse of the L2 penalty) is the one that is most often right on a fifth of the labelled photos, held out.

    Args:
        features: (N, C), of the labelled photos.
        labels: int64 (N,), every class from 0 on at least once.
        queries: (M, C).
        costs: To choose from.
        seed: Of what is held out.

    Returns:
        float32 (M, classes) log probabilities, and the cost.

    Raises:
        InputError: A class has fewer than two photos.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    counts = np.bincount(labels)
    if counts.min() < 2:
        raise InputError(f"class {int(counts.argmin())}: has {counts.min()} photo(s); a linear probe needs two of each.")
    scaler = StandardScaler().fit(features)
    rows, asked = scaler.transform(features).astype(np.float32), scaler.transform(queries).astype(np.float32)

    def regression(cost: float) -> LogisticRegression:
        return LogisticRegression(C=cost / len(rows), max_iter=300)

    cost = costs[0]
    if len(costs) > 1:
        held = max(round(0.2 * len(rows)), len(counts))
        fit, rest = train_test_split(np.arange(len(rows)), test_size=held, stratify=labels, random_state=seed)
        right = {}
        for candidate in costs:
            with _patient():
                right[candidate] = regression(candidate).fit(rows[fit], labels[fit]).score(rows[rest], labels[rest])
        cost = max(costs, key=lambda value: (right[value], -value))
    with _patient():
        found = regression(cost).fit(rows, labels).predict_log_proba(asked)
    return found.astype(np.float32), float(cost)


def voc_average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    """Average precision by PASCAL VOC 2007's eleven points: the mean, over recalls 0, .1, ..., 1, of the best precision
    at that recall or above.

    Args:
        scores: (N,), higher is surer.
        targets: bool (N,), at least one True.

    Returns:
        In percent.

    Raises:
        InputError: There is no positive.
    """
    if not targets.any():
        raise InputError("average precision: no photo shows the class. Give a split that holds every class.")
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(targets, scores)
    # the curve's last point, precision 1 at recall 0, is a convention and no measurement
    precision, recall = precision[:-1], recall[:-1]
    points = np.linspace(0, 1, 11)
    return 100 * float(np.mean([precision[recall >= point - 1e-9].max(initial=0) for point in points]))


def few_shots(targets: np.ndarray, shots: int, generator: np.random.Generator) -> np.ndarray:
    """Rows for low-shot learning: of each class ``shots`` photos that show it, together.

    Args:
        targets: bool (N, classes).
        shots: Photos a class.
        generator: Draws them.

    Returns:
        int64 indices, sorted, without repetition: a photo of two classes counts for both.

    Raises:
        InputError: A class has fewer photos.
    """
    counts = targets.sum(0)
    if shots < 1 or counts.min() < shots:
        raise InputError(
            f"{shots} shots: class {int(counts.argmin())} has {counts.min()} photos. Ask for 1 to {counts.min()} shots."
        )
    drawn = [generator.choice(np.flatnonzero(targets[:, label]), shots, replace=False) for label in range(targets.shape[1])]
    return np.unique(np.concatenate(drawn))


@contextmanager
def _patient() -> Iterator[None]:
    """scikit-learn warns of solvers that stop at their limit; costs are compared by what they reach there."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
