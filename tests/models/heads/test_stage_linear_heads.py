"""The linear probes after each stage against plain torch."""
from types import SimpleNamespace

import pytest
import torch
from mmpretrain.structures import DataSample
from torch.nn import functional

from mmsscl.errors import InputError
from mmsscl.evaluation import StageAccuracy
from mmsscl.models.heads import StageLinearHeads

CHANNELS = (4, 8, 16, 32)


def make_features(count=3, size=224):
    generator = torch.Generator().manual_seed(0)
    sides = [size // stride for stride in (4, 8, 16, 32)]
    return [torch.randn(count, c, side, side, generator=generator) for c, side in zip(CHANNELS, sides)]


def test_a_resnet_50_has_the_published_numbers_of_features():
    head = StageLinearHeads(10)
    assert [layer.in_features for layer in head.layers] == [9216, 8192, 9216, 8192]
    assert sum(parameter.numel() for parameter in head.norms.parameters()) == 0


def test_scores_and_losses_are_those_of_each_stage_alone():
    head = StageLinearHeads(5, CHANNELS, norm_cfg=dict(type="BN"))
    head.init_weights()
    features, labels = make_features(), torch.tensor([1, 4, 0])
    samples = [SimpleNamespace(gt_label=label[None]) for label in labels]
    losses = head.train().loss(features, samples)
    assert list(losses) == [f"loss_stage{number}" for number in range(1, 5)]
    for number, (kernel, stride) in enumerate([(16, 8), (13, 5), (8, 3), (6, 1)]):
        windows = features[number].unfold(2, kernel, stride).unfold(3, kernel, stride).mean((4, 5))
        mean, variance = windows.mean((0, 2, 3), keepdim=True), windows.var((0, 2, 3), unbiased=False, keepdim=True)
        flat = ((windows - mean) / (variance + 1e-5).sqrt()).flatten(1)
        layer = head.layers[number]
        wanted = functional.cross_entropy(flat @ layer.weight.T + layer.bias, labels)
        torch.testing.assert_close(losses[f"loss_stage{number + 1}"], wanted)


def test_probes_learn_apart():
    head = StageLinearHeads(5, CHANNELS, norm_cfg=dict(type="BN"))
    losses = head.loss(make_features(), [SimpleNamespace(gt_label=torch.tensor([label])) for label in (1, 4, 0)])
    losses["loss_stage2"].backward()
    assert [bool(layer.weight.grad.any()) for layer in head.layers] == [False, True, False, False]


def test_the_metric_counts_each_stage_and_the_best():
    head = StageLinearHeads(5, CHANNELS, norm_cfg=dict(type="BN")).eval()
    features = make_features(6)
    with torch.no_grad():
        scores = head(features)
        # right twice, four times, never, three times
        right = [2, 4, 0, 3]
        labels = [0, 1, 2, 3, 4, 0]
        for stage, count in enumerate(right):
            for row, label in enumerate(labels):
                scores[stage, row] = functional.one_hot(torch.tensor(label if row < count else (label + 1) % 5), 5) * 9.0
        head.forward = lambda features: scores
        samples = head.predict(features, [DataSample().set_gt_label(label) for label in labels])
    metric = StageAccuracy()
    metric.process(None, [sample.to_dict() for sample in samples[:4]])
    metric.process(None, [sample.to_dict() for sample in samples[4:]])
    found = metric.evaluate(6)
    shares = {f"accuracy/stage{number}_top1": 100 * count / 6 for number, count in enumerate(right, 1)}
    assert found == pytest.approx(shares | {"accuracy/top1": 400 / 6})


@pytest.mark.parametrize("options", [{"num_classes": 1}, {"in_channels": (4, 8)}, {"image_size": 100}, {"image_size": 96}])
def test_bad_values_are_refused(options):
    with pytest.raises(InputError, match="StageLinearHeads: num_classes="):
        StageLinearHeads(**{"num_classes": 5} | options)


def test_maps_of_another_size_are_named():
    head = StageLinearHeads(5, CHANNELS)
    with pytest.raises(InputError, match=r"sides \[64, 32, 16, 8\]; photos of 224 px give \[56, 28, 14, 7\]"):
        head(make_features(size=256))
