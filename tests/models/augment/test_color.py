"""Each colour operation against torchvision's, on float and on uint8 images, with a parameter per image."""
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from mmsscl.models.augment import color

TOLERANCE = 1.5  # gray levels: the 1.5/255 that the design allows
OPERATIONS: dict[str, tuple[Callable, Callable, list[float]]] = {
    "brightness": (color.adjust_brightness_, reference.adjust_brightness, [0.0, 0.6, 1.0, 1.37, 3.0]),
    "contrast": (color.adjust_contrast_, reference.adjust_contrast, [0.0, 0.6, 1.0, 1.37, 3.0]),
    "saturation": (color.adjust_saturation_, reference.adjust_saturation, [0.0, 0.8, 1.0, 1.2, 3.0]),
    "hue": (color.adjust_hue_, reference.adjust_hue, [-0.5, -0.1, 0.0, 0.07, 0.5]),
}


def pixels(count: int = 5) -> Tensor:
    """uint8 (count, 3, 24, 20): noise, a ramp, and pixels with equal, black, white and pure channels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 24, 20), generator=generator, dtype=torch.uint8)
    images[:, :, :4] = torch.arange(20, dtype=torch.uint8) * 13
    images[:, :, 4:8] = 0
    images[:, :, 8] = 255
    images[:, 0, 5] = 255
    images[:, 1, 6] = 200
    images[:, :2, 7] = 90
    return images


@pytest.mark.parametrize("name", OPERATIONS)
def test_equals_torchvision_on_float_images(name: str) -> None:
    operation, torchvision_operation, values = OPERATIONS[name]
    images = pixels().float()
    result = operation(images.clone(), torch.tensor(values))
    expected = torch.stack([torchvision_operation(image / 255, value) for image, value in zip(images, values)]) * 255
    assert (result - expected).abs().max() < 0.02
    assert not torch.equal(result, images)


@pytest.mark.parametrize("name", OPERATIONS)
def test_equals_torchvision_on_uint8_images(name: str) -> None:
    operation, torchvision_operation, values = OPERATIONS[name]
    images = pixels()
    # uint8 operations cut the gray value to an integer before they weigh it: with a weight of 2 that alone is 2 levels.
    values = [min(value, 1.5) for value in values]
    result = operation(images.float(), torch.tensor(values))
    expected = torch.stack([torchvision_operation(image, value) for image, value in zip(images, values)])
    assert (result - expected).abs().max() <= TOLERANCE


@pytest.mark.parametrize("name", OPERATIONS)
def test_works_in_place(name: str) -> None:
    operation, _, values = OPERATIONS[name]
    images = pixels().float()
    assert operation(images, torch.tensor(values)) is images


def test_gray_equals_torchvision() -> None:
    images = pixels()
    result = color.to_gray_(images.float())
    torch.testing.assert_close(result, reference.rgb_to_grayscale(images.float(), 3), rtol=0, atol=1e-3)
    assert (result - reference.rgb_to_grayscale(images, 3)).abs().max() <= TOLERANCE


def test_solarize_equals_torchvision_at_each_images_threshold() -> None:
    images = pixels(4)
    thresholds = [0, 128, 200, 255]
    result = color.solarize_(images.float(), torch.tensor(thresholds).float())
    expected = torch.stack([reference.solarize(image, value) for image, value in zip(images, thresholds)])
    assert torch.equal(result, expected.float())


def test_solarize_threshold_256_changes_nothing() -> None:
    images = pixels(1).float()
    assert torch.equal(color.solarize_(images.clone(), torch.tensor([256.0])), images)


def test_hue_of_gray_pixels_stays_gray_and_finite() -> None:
    images = torch.arange(256.0).view(1, 1, 16, 16).expand(1, 3, 16, 16).clone()
    result = color.adjust_hue_(images.clone(), torch.tensor([0.31]))
    assert torch.equal(result, images)


def test_hue_there_and_back_is_the_identity() -> None:
    images = pixels().float()
    shift = torch.linspace(-0.4, 0.4, 5)
    back = color.adjust_hue_(color.adjust_hue_(images.clone(), shift), -shift)
    torch.testing.assert_close(back, images, rtol=0, atol=2e-3)
