"""The whole chain against torchvision's operations applied image by image, in all 24 jitter orders."""
import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.datasets.transforms.photometric import DrawPhotometric
from mmsscl.models.augment import apply_photometric_, plan_photometric
from mmsscl.models.augment.blur import gaussian_kernel_size, reduced_size
from mmsscl.structures import JITTER_ORDERS, PhotometricColumn, identity_photometric

COLUMN = PhotometricColumn
CPU = torch.device("cpu")
ADJUST = {
    COLUMN.BRIGHTNESS: reference.adjust_brightness,
    COLUMN.CONTRAST: reference.adjust_contrast,
    COLUMN.SATURATION: reference.adjust_saturation,
    COLUMN.HUE: reference.adjust_hue,
}


def torchvision_chain(image: Tensor, row: np.ndarray) -> Tensor:
    """One float image (3, S, S) in 0..1 through torchvision."""
    size = image.shape[-1]
    if row[COLUMN.JITTER_ORDER] >= 0:
        for operation in JITTER_ORDERS[int(row[COLUMN.JITTER_ORDER])]:
            image = ADJUST[operation](image, float(row[operation]))
    if row[COLUMN.GRAY]:
        image = reference.rgb_to_grayscale(image, 3)
    if row[COLUMN.RESIZE_FACTOR] > 1:
        small = reduced_size(size, row[COLUMN.RESIZE_FACTOR])
        image = reference.resize(image, [small, small], InterpolationMode.BICUBIC, antialias=True)
        image = reference.resize(image, [size, size], InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
    if row[COLUMN.BLUR_SIGMA] > 0:
        image = reference.gaussian_blur(image, [gaussian_kernel_size(size)] * 2, [float(row[COLUMN.BLUR_SIGMA])])
    if row[COLUMN.SOLARIZE] < 256:
        image = reference.solarize(image, float(row[COLUMN.SOLARIZE]) / 255)
    return image


def textured_images(count: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(count, 3, size // 4, size // 4, generator=generator)
    smooth = torch.nn.functional.interpolate(noise, (size, size), mode="bicubic") * 80 + 128
    return (smooth + torch.randn(count, 3, size, size, generator=generator) * 8).clamp(0, 255).round()


def rows_in_all_orders(blur: str) -> np.ndarray:
    """float32 (24, P), strong parameters; row i uses jitter order i."""
    transform = DrawPhotometric(views=[{"jitter_prob": 1.0, "saturation": 0.4, "blur": blur}, {}])
    rows = np.stack([transform.transform({"streams": RandomStreams(7, 0, i)})["photometric"][0] for i in range(24)])
    rows[:, COLUMN.JITTER_ORDER] = np.arange(24)
    return rows


@pytest.mark.parametrize("blur", ["resize", "gaussian"])
@pytest.mark.parametrize("gray", [0, 1])
def test_chain_equals_torchvision_in_all_orders(blur: str, gray: int) -> None:
    rows = rows_in_all_orders(blur)
    rows[:, COLUMN.GRAY] = gray
    images = textured_images(24, 64)
    result = apply_photometric_(images.clone(), torch.from_numpy(rows))
    expected = torch.stack([torchvision_chain(image / 255, row) for image, row in zip(images, rows)]) * 255
    assert (result - expected).abs().max() < 1.5
    assert (result - images).abs().mean() > 5


def test_chain_with_solarize_equals_torchvision_away_from_the_threshold() -> None:
    """At the threshold itself a rounding error decides; everywhere else the chains agree."""
    rows = rows_in_all_orders("resize")
    images = textured_images(24, 64)
    before = torch.stack([torchvision_chain(image / 255, row) for image, row in zip(images, rows)]) * 255
    rows[:, COLUMN.SOLARIZE] = 128
    result = apply_photometric_(images.clone(), torch.from_numpy(rows))
    expected = torch.stack([torchvision_chain(image / 255, row) for image, row in zip(images, rows)]) * 255
    clear = (before - 128).abs() > 0.1
    assert clear.float().mean() > 0.99
    assert (result - expected)[clear].abs().max() < 1.5


def test_orders_differ() -> None:
    """A chain that ignored the order column would pass none of these."""
    rows = rows_in_all_orders("resize")
    rows[:, COLUMN.BRIGHTNESS : COLUMN.HUE + 1] = [1.4, 0.6, 0.5, 0.1]
    rows[:, COLUMN.RESIZE_FACTOR] = 1
    images = textured_images(1, 32).expand(24, 3, 32, 32).clone()
    images[:, 0] = (images[:, 0] + 90).clamp(0, 255)
    result = apply_photometric_(images, torch.from_numpy(rows))
    assert len({tuple(image.flatten()[::97].tolist()) for image in result}) == 24


def test_mixed_batch_equals_each_image_alone() -> None:
    second = {"blur": "gaussian", "blur_prob": 0.5, "solarize_prob": 0.5, "gray_prob": 0.4}
    transform = DrawPhotometric(views=[{}, second])
    rows = np.concatenate([transform.transform({"streams": RandomStreams(1, 0, i)})["photometric"] for i in range(12)])
    rows[5] = identity_photometric()
    photometric = torch.from_numpy(rows)
    images = textured_images(24, 40)
    together = apply_photometric_(images.clone(), photometric)
    alone = torch.cat([apply_photometric_(images[i : i + 1].clone(), photometric[i : i + 1]) for i in range(24)])
    torch.testing.assert_close(together, alone, rtol=0, atol=2e-3)
    assert torch.equal(together[5], images[5])


def test_identity_rows_need_no_step_at_all() -> None:
    rows = torch.from_numpy(np.stack([identity_photometric()] * 3))
    assert plan_photometric(rows, CPU) == []
    neutral_jitter = rows.clone()
    neutral_jitter[:, COLUMN.JITTER_ORDER] = 4
    assert plan_photometric(neutral_jitter, CPU) == []


def test_plan_puts_each_image_into_each_operation_once() -> None:
    rows = rows_in_all_orders("resize")
    steps = plan_photometric(torch.from_numpy(rows), CPU)
    for operation in (COLUMN.BRIGHTNESS, COLUMN.CONTRAST, COLUMN.SATURATION, COLUMN.HUE):
        indices = torch.cat([step.rows for step in steps if step.operation == operation and step.rows is not None])
        values = torch.cat([step.values for step in steps if step.operation == operation])
        assert sorted(indices.tolist()) == list(range(24))
        np.testing.assert_array_equal(values.numpy(), rows[indices.numpy(), operation])


def test_works_in_place_without_gradients_and_in_range() -> None:
    images = textured_images(24, 48).requires_grad_()
    leaf = images.detach()
    result = apply_photometric_(leaf, torch.from_numpy(rows_in_all_orders("resize")))
    assert result is leaf
    assert not result.requires_grad
    assert 0 <= result.min() <= result.max() <= 255
