import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from mmsscl.errors import InputError
from mmsscl.evaluation.knn import top_accuracy, top_hits, weighted_knn


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (20, 1.0), (60, 0.01)])
def test_votes_are_those_of_scikit_learn(k, temperature):
    generator = np.random.default_rng(0)
    bank, queries = (generator.normal(size=(count, 8)).astype(np.float32) for count in (60, 2500))
    labels = generator.integers(0, 4, 60)
    machine = KNeighborsClassifier(k, metric="cosine", weights=lambda distance: np.exp((1 - distance) / temperature))
    wanted = machine.fit(bank.astype(np.float64), labels).predict_proba(queries.astype(np.float64))
    found = weighted_knn(torch.from_numpy(bank), torch.from_numpy(labels), torch.from_numpy(queries), 4, k, temperature)
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-3)


def test_lengths_of_features_do_not_count_and_small_temperatures_do_not_overflow():
    generator = torch.Generator().manual_seed(0)
    bank, queries = torch.randn(30, 6, generator=generator), torch.randn(9, 6, generator=generator)
    labels = torch.arange(30) % 3
    wanted = weighted_knn(bank, labels, queries, 3, 7)
    torch.testing.assert_close(weighted_knn(bank * 1000, labels, queries * 1e-4, 3, 7), wanted)
    sharp = weighted_knn(bank, labels, queries, 3, 7, temperature=1e-4)
    torch.testing.assert_close(sharp, weighted_knn(bank, labels, queries, 3, 1))


def test_a_feature_finds_itself():
    features = torch.randn(20, 5, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(20) % 4
    assert top_accuracy(weighted_knn(features, labels, features, 4, k=1), labels) == 100


def test_top_accuracy_by_hand():
    scores = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3], [0.2, 0.3, 0.5], [0.9, 0.06, 0.04]])
    labels = torch.tensor([1, 2, 0, 0])
    assert [top_accuracy(scores, labels, top) for top in (1, 2, 3, 5)] == [50, 75, 100, 100]
    assert [top_hits(scores, labels, top).sum() for top in (1, 2, 3, 5)] == [2, 3, 4, 4]


@pytest.mark.parametrize(
    ("k", "temperature", "message"), [(0, 1, "k=0"), (4, 1, "k=4: .* the 3 labelled"), (1, 0, "temperature=0")]
)
def test_values_out_of_range_are_told(k, temperature, message):
    with pytest.raises(InputError, match=message):
        weighted_knn(torch.eye(3), torch.arange(3), torch.eye(3), 3, k, temperature)
