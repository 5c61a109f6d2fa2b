import torch

from mmsscl.saliency.batch_weights import batch_crop_weights

VALID = torch.tensor([[True, True], [True, False], [False, False]])


def test_equals_the_formula_over_the_whole_batch():
    scores = torch.tensor([[0.9, 0.3], [0.6, 0.9], [0.5, 0.5]])
    weights = batch_crop_weights(scores, VALID, torch.tensor([1.0, 0.5, 1.0]))
    ratio = scores / 0.6
    raw = torch.stack([ratio[0], 0.5 + 0.5 * ratio[1]])
    expected = raw / ((raw[0].sum() + raw[1, 0]) / 3)
    torch.testing.assert_close(weights[VALID], expected[VALID[:2]])
    torch.testing.assert_close(weights[VALID].mean(), torch.tensor(1.0))
    assert weights.dtype == torch.float32


def test_images_of_low_scores_count_less_down_to_the_clip():
    weights = batch_crop_weights(torch.tensor([[0.001], [1.0]]), torch.ones(2, 1, dtype=torch.bool), torch.ones(2))
    torch.testing.assert_close(weights, torch.tensor([[0.25], [1.998]]) / 1.124, atol=1e-3, rtol=0)


def test_exactly_one_without_guidance_without_scores_or_without_valid_crops():
    scores = torch.rand(3, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(batch_crop_weights(scores, VALID, torch.zeros(3)), torch.ones(3, 2))
    assert torch.equal(batch_crop_weights(0 * scores, VALID, torch.ones(3))[VALID], torch.ones(3))
    nothing = torch.zeros(3, 2, dtype=torch.bool)
    assert torch.equal(batch_crop_weights(scores, nothing, torch.ones(3)), torch.ones(3, 2))


def test_what_is_not_valid_weighs_one_whatever_its_score():
    scores = torch.tensor([[0.9, 0.3], [0.6, torch.nan], [torch.nan, 0.1]])
    weights = batch_crop_weights(scores, VALID, torch.ones(3))
    assert (weights[~VALID] == 1).all()
    torch.testing.assert_close(weights[VALID].mean(), torch.tensor(1.0))


def test_no_gradient_passes():
    scores = torch.rand(3, 2, requires_grad=True)
    assert not batch_crop_weights(scores, VALID, torch.ones(3, requires_grad=True)).requires_grad
