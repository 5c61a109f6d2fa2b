"""One function from images to maps, for refresh and evaluation."""
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from mmsscl.datasets.encoded_image import EncodedImage
from mmsscl.errors import InputError
from mmsscl.saliency.estimators import ActivationSaliency, ContrastiveCAM
from mmsscl.saliency.extract import evaluating, extract_maps, projector_of, squash_image
from mmsscl.saliency.normalise import entropy_trust, normalise_maps


class Neck(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.projector = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))


class Given(nn.Module):
    """A backbone that answers with what it is given."""

    def __init__(self, features: Iterator[torch.Tensor]) -> None:
        super().__init__()
        self.features = features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return next(self.features)


def make(seed: int = 0) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    torch.manual_seed(seed)
    backbone = nn.Sequential(nn.Conv2d(3, 6, 3, stride=4, padding=1), nn.BatchNorm2d(6), nn.ReLU())
    return backbone.eval(), Neck().eval(), torch.randn(3, 3, 20, 28)


def test_plain_maps_are_the_estimators_normalised() -> None:
    backbone, neck, images = make()
    maps, trust = extract_maps(backbone, neck, ActivationSaliency(), images, mirror=False)
    expected = normalise_maps(backbone(images).sum(1))
    assert torch.equal(maps, expected)
    assert torch.equal(trust, entropy_trust(expected))
    assert maps.shape == (3, 5, 7)


@pytest.mark.parametrize("estimator", [ActivationSaliency(), ContrastiveCAM()])
def test_mirrored_images_have_mirrored_maps(estimator: nn.Module) -> None:
    backbone, neck, images = make()
    maps, trust = extract_maps(backbone, neck, estimator, images)
    mirrored, mirrored_trust = extract_maps(backbone, neck, estimator, images.flip(-1))
    torch.testing.assert_close(mirrored.flip(-1), maps)
    torch.testing.assert_close(mirrored_trust, trust)
    plain, _ = extract_maps(backbone, neck, estimator, images, mirror=False)
    assert not torch.allclose(plain, maps, atol=0.05)


def test_nothing_is_tracked_or_changed_and_the_backbone_takes_no_gradient() -> None:
    backbone, neck, images = make()
    before = {name: value.clone() for name, value in (*backbone.state_dict().items(), *neck.state_dict().items())}
    with torch.no_grad():
        maps, trust = extract_maps(backbone, neck, ContrastiveCAM(), images)
    assert maps.dtype == trust.dtype == torch.float32
    assert not maps.requires_grad
    assert all(each.grad is None for each in (*backbone.parameters(), *neck.parameters()))
    for name, value in (*backbone.state_dict().items(), *neck.state_dict().items()):
        assert torch.equal(before[name], value)


@pytest.mark.parametrize("mirror", [True, False])
def test_autocast_reaches_the_backbone_and_nothing_else(mirror: bool) -> None:
    backbone, neck, images = make()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps, trust = extract_maps(backbone, neck, ContrastiveCAM(), images, mirror)
        features = [backbone(views).detach() for views in (images, images.flip(-1))]
    assert features[0].dtype == torch.bfloat16
    given = iter([each.float() for each in features])
    exact, exact_trust = extract_maps(Given(given), neck, ContrastiveCAM(), images, mirror)
    assert maps.dtype == trust.dtype == torch.float32
    assert torch.equal(maps, exact)
    assert torch.equal(trust, exact_trust)


def test_constant_images_are_not_trusted() -> None:
    """A backbone without padding sees the same everywhere."""
    backbone = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.ReLU()).eval()
    maps, trust = extract_maps(backbone, None, ActivationSaliency(), torch.ones(2, 3, 16, 16))
    assert torch.equal(maps, torch.full((2, 4, 4), 0.5))
    assert torch.equal(trust, torch.zeros(2))


def test_bad_batches_are_refused() -> None:
    backbone, neck, images = make()
    for batch in (images[:0], images[0], images[:, :1]):
        with pytest.raises(InputError, match="give a batch"):
            extract_maps(backbone, neck, ActivationSaliency(), batch)
    assert projector_of(None) is None
    assert projector_of(backbone) is None


def test_modes_come_back_after_an_error() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Sequential(nn.BatchNorm1d(2))).train()
    model[1][0].eval()

    def fail() -> None:
        with evaluating(model):
            assert not any(part.training for part in model.modules())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [part.training for part in model.modules()] == [True, True, True, False]


def test_whole_images_are_squashed_upright() -> None:
    """Red above, green below left, blue below right, twice as wide as high."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:20, :, 2], pixels[20:, :40, 1], pixels[20:, 40:, 0] = 255, 255, 255
    data = cv2.imencode(".png", pixels)[1].tobytes()
    squashed = squash_image(EncodedImage(data, "x.png"), 32)
    assert squashed.shape == (3, 32, 32)
    assert squashed.dtype == torch.uint8
    assert squashed[:, 4, 16].tolist() == [255, 0, 0]
    assert squashed[:, 28, 4].tolist() == [0, 255, 0]
    assert squashed[:, 28, 28].tolist() == [0, 0, 255]


def test_a_panorama_of_one_row_is_squashed_too() -> None:
    data = cv2.imencode(".png", np.full((1, 300, 3), 90, np.uint8))[1].tobytes()
    assert (squash_image(EncodedImage(data, "x.png"), 16) == 90).all()
