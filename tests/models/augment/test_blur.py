"""The blur matrices against torchvision's resize and gaussian_blur."""
import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from mmsscl.models.augment import blur


def smooth_images(count: int, height: int, width: int) -> Tensor:
    """uint8 (count, 3, H, W), structure at several scales, with saturated areas."""
    generator = torch.Generator().manual_seed(1)
    total = torch.zeros(count, 3, height, width)
    for scale in (2, 4, 16):
        noise = torch.randn(count, 3, height // scale + 2, width // scale + 2, generator=generator)
        total += torch.nn.functional.interpolate(noise, (height, width), mode="bilinear") * scale**0.5
    return (total * 25 + 128).clamp(0, 255).round().to(torch.uint8)


def torchvision_resize_blur(image: Tensor, factor: float) -> Tensor:
    height, width = image.shape[-2:]
    small = [blur.reduced_size(height, factor), blur.reduced_size(width, factor)]
    image = reference.resize(image, small, InterpolationMode.BICUBIC, antialias=True)
    return reference.resize(image, [height, width], InterpolationMode.BICUBIC, antialias=True)


@pytest.mark.parametrize("factor", [1.1, 1.2, 1.5, 4.0])
@pytest.mark.parametrize("shape", [(96, 96), (70, 101), (7, 5)])
def test_resize_blur_equals_torchvisions_resize_twice(factor: float, shape: tuple[int, int]) -> None:
    images = smooth_images(3, *shape)
    result = blur.resize_blur(images.float(), factor)
    expected = torchvision_resize_blur(images.float(), factor).clamp(0, 255)
    torch.testing.assert_close(result, expected, rtol=0, atol=0.01)
    assert (result - images).abs().max() > 1


@pytest.mark.parametrize("factor", [1.1, 1.2, 1.5])
def test_resize_blur_is_close_to_the_uint8_operation(factor: float) -> None:
    # Away from black and white: there the uint8 operation also cuts the overshoot between its two resizes.
    images = smooth_images(3, 96, 96) // 2 + 64
    difference = (blur.resize_blur(images.float(), factor) - torchvision_resize_blur(images, factor)).abs()
    assert difference.mean() < 0.5
    # Two roundings to whole levels, the first one widened by the second resize.
    assert difference.quantile(0.999) <= 1.5


def test_resize_blur_stays_in_range_at_hard_edges() -> None:
    images = torch.zeros(1, 3, 64, 64)
    images[..., 20:40] = 255
    result = blur.resize_blur(images, 1.5)
    assert result.min() == 0
    assert result.max() == 255


@pytest.mark.parametrize(("size", "factor", "reduced"), [(224, 1.1, 203), (224, 1.5, 149), (110, 1.1, 100), (2, 9, 1)])
def test_reduced_size_survives_float32(size: int, factor: float, reduced: int) -> None:
    assert blur.reduced_size(size, factor) == reduced
    assert blur.reduced_size(size, float(torch.tensor(factor))) == reduced


@pytest.mark.parametrize("shape", [(96, 96), (60, 101), (20, 20), (5, 7)])
def test_gaussian_blur_equals_torchvision_with_each_images_sigma(shape: tuple[int, int]) -> None:
    sigma = [0.1, 0.7, 1.3, 2.0]
    images = smooth_images(4, *shape).float()
    result = blur.gaussian_blur(images, torch.tensor(sigma))
    kernel = [blur.gaussian_kernel_size(shape[1]), blur.gaussian_kernel_size(shape[0])]
    expected = torch.stack([reference.gaussian_blur(image, kernel, [s, s]) for image, s in zip(images, sigma)])
    torch.testing.assert_close(result, expected, rtol=0, atol=0.01)


def test_gaussian_blur_is_close_to_the_uint8_operation() -> None:
    images = smooth_images(2, 96, 96)
    result = blur.gaussian_blur(images.float(), torch.tensor([0.4, 1.9]))
    expected = torch.stack([reference.gaussian_blur(image, [9, 9], [s]) for image, s in zip(images, [0.4, 1.9])])
    assert (result - expected).abs().max() <= 0.51


@pytest.mark.parametrize(("size", "kernel"), [(224, 23), (128, 13), (96, 9), (9, 1)])
def test_gaussian_kernel_is_a_tenth_of_the_side_and_odd(size: int, kernel: int) -> None:
    assert blur.gaussian_kernel_size(size) == kernel


def test_gaussian_matrix_holds_both_reflections_of_one_pixel() -> None:
    """A kernel nearly twice the axis: some entries gather a direct tap and two reflected ones."""
    matrix = blur.gaussian_blur_matrices(6, 11, torch.tensor([3.0]))[0]
    line = torch.randn(1, 1, 6, generator=torch.Generator().manual_seed(0))
    offset = torch.arange(-5.0, 6.0)
    weights = torch.softmax(-0.5 * (offset / 3) ** 2, 0)
    expected = torch.nn.functional.conv1d(torch.nn.functional.pad(line, (5, 5), mode="reflect"), weights.view(1, 1, -1))
    torch.testing.assert_close(matrix @ line[0, 0], expected[0, 0])


@pytest.mark.parametrize("per_image", [True, False])
def test_banded_product_equals_the_dense_one(per_image: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    count = 3 if per_image else 1

    def banded(size: int, reach: int) -> Tensor:
        matrix = torch.randn(count, size, size, generator=generator)
        return matrix.triu(-reach).tril(reach)

    rows, columns = banded(50, 7), banded(77, 3)
    images = torch.randn(3, 3, 50, 77, generator=generator)
    result = blur.apply_separable(images, rows, columns, 7, 3)
    expected = rows[:, None].double() @ images.double() @ columns[:, None].double().mT
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=1e-4)


def test_blur_keeps_float32_inside_autocast() -> None:
    images = smooth_images(2, 64, 64).float()
    plain = blur.resize_blur(images, 1.2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(blur.resize_blur(images, 1.2), plain)
