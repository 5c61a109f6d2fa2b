"""The closed-form linear classifier against scikit-learn's."""
import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from mmsscl.errors import InputError
from mmsscl.evaluation.ridge import ridge_scores


@pytest.mark.parametrize(("count", "width"), [(60, 10), (12, 40)])
def test_scores_are_scikit_learns(count, width):
    generator = np.random.default_rng(0)
    bank = generator.normal(3, 2, (count, width)) * generator.uniform(0.1, 5, width)
    labels, queries = generator.integers(0, 4, count), generator.normal(3, 2, (7, width))
    strength = 0.05
    wanted = Ridge(alpha=strength * count * bank.var(0).mean()).fit(bank, np.eye(4)[labels]).predict(queries)
    tensors = torch.from_numpy(bank), torch.from_numpy(labels), torch.from_numpy(queries)
    np.testing.assert_allclose(ridge_scores(*tensors, 4, strength), wanted, atol=2e-4)
    scaled = ridge_scores(tensors[0] * 1000, tensors[1], tensors[2] * 1000, 4, strength)
    np.testing.assert_allclose(scaled, wanted, atol=2e-4)


def test_features_that_are_all_alike_give_the_classes_shares():
    scores = ridge_scores(torch.ones(4, 3), torch.tensor([0, 0, 0, 1]), torch.ones(2, 3), 2)
    torch.testing.assert_close(scores, torch.tensor([[0.75, 0.25]] * 2))


@pytest.mark.parametrize("strength", [0, -1, float("nan")])
def test_strength_is_above_zero(strength):
    with pytest.raises(InputError, match="strength="):
        ridge_scores(torch.ones(2, 2), torch.tensor([0, 1]), torch.ones(1, 2), 2, strength)
