"""What must hold of loss weights for any scores."""
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsscl.saliency.weights import crop_weights, effective_sample_size

many = settings(max_examples=200, deadline=None, derandomize=True)


@st.composite
def batches(draw):
    images, crops = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = generator.random((images, crops)) ** draw(st.floats(0.1, 8.0))
    if draw(st.booleans()):
        scores[generator.random((images, crops)) < 0.5] = 0.0
    valid = generator.random((images, crops)) < draw(st.floats(0.0, 1.0))
    guidance = generator.choice([0.0, 0.3, 1.0], images)
    low, high = draw(st.floats(0.01, 1.0)), draw(st.floats(1.0, 50.0))
    return (torch.tensor(scores, dtype=torch.float32), torch.tensor(valid), torch.tensor(guidance).float(), (low, high))


@many
@given(batches())
def test_weights_have_mean_one_keep_order_and_stay_bounded(batch):
    scores, valid, guidance, (low, high) = batch
    weights = crop_weights(scores, valid, guidance, (low, high))
    assert torch.isfinite(weights).all()
    assert (weights > 0).all()
    for row, (values, mask, strength) in enumerate(zip(scores, valid, guidance)):
        own = weights[row][mask]
        if strength == 0 or not mask.any() or values[mask].max() == 0:
            assert (weights[row] == 1).all()
            continue
        assert torch.isclose(own.mean(), torch.tensor(1.0), rtol=1e-4)
        assert own.max() / own.min() <= high / low * (1 + 1e-4)
        order = values[mask].argsort()
        assert (own[order].diff() >= -1e-5).all()
        assert (weights[row][~mask] == 1).all()


@many
@given(batches())
def test_the_effective_sample_size_is_a_share(batch):
    scores, valid, guidance, clip = batch
    share = float(effective_sample_size(crop_weights(scores, valid, guidance, clip), valid))
    assert 1 / scores.shape[1] - 1e-6 <= share <= 1 + 1e-6
    assert float(effective_sample_size(torch.ones_like(scores), valid)) == 1
