"""ContrastiveCAM against its definition: one image at a time, float64, autograd down to the feature map."""
import pytest
import torch
from torch import nn
from torch.nn import functional

from mmsscl.errors import InputError
from mmsscl.saliency.estimators import ActivationSaliency, ContrastiveCAM


def random_features(count=5, channels=8, height=4, width=6, seed=0):
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(seed)) ** 2


def projector(channels=8, seed=0):
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Linear(channels, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 6))
    layers[1].running_mean.normal_(0, 0.1)
    layers[1].running_var.uniform_(0.05, 0.2)
    return layers.eval()


def expected_map(index, features, project, temperature, positives=None, rounds=1):
    """The map of one image by its definition."""
    keys = [project(each.mean((1, 2))[None])[0] for each in (features if positives is None else positives)]
    combined = torch.zeros_like(features[0, 0])
    for _ in range(rounds):
        kept = 1 - combined
        own = features[index].clone().requires_grad_()
        query = project(((own * kept).sum((1, 2)) / kept.sum())[None])[0]
        similarities = torch.stack([functional.cosine_similarity(query, key.detach(), dim=0) for key in keys]) / temperature
        (gradient,) = torch.autograd.grad(similarities.log_softmax(0)[index], own)
        cam = sum(max(0.0, a.item()) * f for a, f in zip(gradient.mean((1, 2)), features[index])).clamp_min(0) * kept
        combined = torch.maximum(combined, cam / cam.max())
    return combined


def brute_force(features, project, temperature=0.2, **options):
    features, project = features.double(), project if project is None else project.double()
    project = project or (lambda vectors: vectors)
    return torch.stack([expected_map(i, features, project, temperature, **options) for i in range(len(features))]).float()


def to_one(maps):
    return maps / maps.amax((1, 2), keepdim=True)


@pytest.mark.parametrize("temperature", [1.0, 0.2, 0.05])
@pytest.mark.parametrize("projected", [True, False])
def test_the_map_is_the_cam_of_the_log_softmax(temperature, projected):
    features = random_features()
    maps = ContrastiveCAM(temperature)(features, projector() if projected else None)
    expected = brute_force(features, projector() if projected else None, temperature)
    torch.testing.assert_close(to_one(maps), to_one(expected), atol=1e-4, rtol=1e-3)


def test_positives_are_the_keys_and_pull():
    features, mirrored = random_features(), random_features(seed=7)
    maps = ContrastiveCAM()(features, projector(), mirrored)
    expected = brute_force(features, projector(), positives=mirrored.double())
    torch.testing.assert_close(to_one(maps), to_one(expected), atol=1e-4, rtol=1e-3)
    assert not torch.allclose(to_one(maps), to_one(ContrastiveCAM()(features, projector())), atol=0.05)


@pytest.mark.parametrize("rounds", [2, 4])
def test_rounds_erase_and_repeat_by_the_definition(rounds):
    features = random_features()
    maps = ContrastiveCAM(rounds=rounds)(features, projector())
    expected = brute_force(features, projector(), rounds=rounds)
    torch.testing.assert_close(maps, expected, atol=1e-3, rtol=1e-3)


def two_objects():
    """Channel 0: a background all images share, strong. Image i shows two objects of its own: a clear and a faint one."""
    features = torch.zeros(4, 9, 8, 8)
    features[:, 0] = 5.0
    for image in range(4):
        features[image, 1 + image, 1:4, 1:4] = 3.0
        features[image, 5 + image, 5:7, 5:7] = 1.0
        features[image, 0, 1:4, 1:4] = features[image, 0, 5:7, 5:7] = 0.5
    return features, (slice(None), slice(1, 4), slice(1, 4)), (slice(None), slice(5, 7), slice(5, 7))


def test_what_is_unlike_the_other_images_is_found_and_the_shared_background_is_not():
    features, clear, faint = two_objects()
    maps = to_one(ContrastiveCAM()(features))
    background = maps[:, 0]
    assert maps[clear].amin() > 0.9
    assert maps[faint].amin() > background.amax()
    assert background.amax() < 0.01
    assert to_one(ActivationSaliency()(features))[clear].amax() < to_one(ActivationSaliency()(features))[:, 0].amin()


def test_a_second_round_brings_out_what_the_first_left():
    features, clear, faint = two_objects()
    once, twice = to_one(ContrastiveCAM()(features)), to_one(ContrastiveCAM(rounds=2)(features))
    assert twice[clear].amin() > 0.9
    assert once[faint].amax() < 0.1
    assert twice[faint].amin() > 0.9
    assert twice[:, 0].amax() < 0.01


def test_a_batch_of_one_falls_back_to_activations():
    features = random_features(1)
    for rounds in (1, 3):
        assert torch.equal(ContrastiveCAM(rounds=rounds)(features, projector()), ActivationSaliency()(features))
    assert torch.equal(ContrastiveCAM()(features, projector(), random_features(1, seed=7)), ActivationSaliency()(features))


def test_equal_images_fall_back_to_activations():
    features = random_features(1).expand(4, -1, -1, -1)
    for project in (projector(), None):
        assert torch.equal(ContrastiveCAM()(features, project), ActivationSaliency()(features))


def test_a_collapsed_projector_falls_back_to_activations():
    collapsed = nn.Linear(8, 6)
    with torch.no_grad():
        collapsed.weight.mul_(1e-7)
        collapsed.bias.fill_(1.0)
    features = random_features()
    assert torch.equal(ContrastiveCAM(rounds=2)(features, collapsed), ActivationSaliency()(features))


def test_a_black_image_spoils_no_other():
    features = random_features()
    features[2] = 0
    maps = ContrastiveCAM(rounds=3)(features, projector())
    assert maps[2].eq(0).all()
    expected = brute_force(features, projector(), rounds=3)
    torch.testing.assert_close(maps[[0, 1, 3, 4]], expected[[0, 1, 3, 4]], atol=1e-3, rtol=1e-3)


def test_a_low_temperature_does_not_fade():
    features, clear, _ = two_objects()
    maps = ContrastiveCAM(temperature=0.01)(features)
    assert to_one(maps)[clear].amin() > 0.9
    assert not torch.equal(maps, ActivationSaliency()(features))


def test_a_projector_in_training_mode_is_refused():
    project = projector().train()
    before = project[1].running_mean.clone()
    with pytest.raises(InputError, match="training mode"):
        ContrastiveCAM()(random_features(), project)
    assert torch.equal(project[1].running_mean, before)
    ContrastiveCAM()(random_features(), project.eval())
    assert torch.equal(project[1].running_mean, before)


def test_a_projector_without_gradient_is_refused():
    with pytest.raises(InputError, match="no gradient"):
        ContrastiveCAM()(random_features(), torch.no_grad()(projector()))


def test_frozen_projectors_serve():
    features = random_features()
    expected = ContrastiveCAM()(features, projector())
    assert torch.equal(ContrastiveCAM()(features, projector().requires_grad_(False)), expected)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: ContrastiveCAM(temperature=0.0), "temperature=0.0"),
        (lambda: ContrastiveCAM(rounds=0), "rounds=0"),
        (lambda: ContrastiveCAM()(random_features(4), None, random_features(3)), r"positives of shape \(3, 8, 4, 6\)"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(InputError, match=match):
        call()
