"""Colour operations on a batch, in place, with one parameter per image.

Images are float32 (n, 3, H, W), RGB, on the scale 0..255; ``factor`` is float32 (n,). Each operation equals
``torchvision.transforms.v2.functional``'s of the same name on float images, and clamps where that one does. All change
``images`` and return it: on a CPU this work is bound by memory, and every copy would show.
"""
import torch
from torch import Tensor

MAX_VALUE = 255.0
# ITU-R 601 luma, with the four digits that torchvision uses.
_LUMA = (0.2989, 0.587, 0.114)


def luma(images: Tensor) -> Tensor:
    """The gray value of each pixel.

    Args:
        images: (n, 3, H, W).

    Returns:
        (n, 1, H, W), a new tensor.
    """
    red, green, blue = images.split(1, dim=1)
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def adjust_brightness_(images: Tensor, factor: Tensor) -> Tensor:
    """Multiplies by the factor (at least 0)."""
    return images.mul_(_per_image(factor)).clamp_(0, MAX_VALUE)


def adjust_contrast_(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with the image's mean gray value: factor 0 leaves that alone, 1 changes nothing."""
    red, green, blue = images.mean(dim=(2, 3)).unbind(dim=1)
    mean = red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]
    return images.mul_(_per_image(factor)).add_(_per_image(mean * (1 - factor))).clamp_(0, MAX_VALUE)


def adjust_saturation_(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with the gray image: factor 0 is gray, 1 changes nothing."""
    gray = luma(images).mul_(_per_image(1 - factor))
    return images.mul_(_per_image(factor)).add_(gray).clamp_(0, MAX_VALUE)


def adjust_hue_(images: Tensor, shift: Tensor) -> Tensor:
    """Turns the hue by ``shift`` turns (-0.5..0.5) in HSV.

    With value v, chroma c and hue h in sixths of a turn, each channel is ``v - c + c * clamp(t)`` where t is a triangle
    wave of h: no sector index and no gather is needed, and chroma is left alone, so the scale of the values is free.
    """
    red, green, blue = images.unbind(dim=1)
    value = torch.maximum(red, green)
    lowest = torch.minimum(red, green)
    value = torch.maximum(value, blue, out=value)
    lowest = torch.minimum(lowest, blue, out=lowest)
    chroma = value - lowest
    # Hue times chroma, by which channel is largest (red first, then green, as torchvision breaks ties). Masks are
    # floats: torch.where is several times slower than arithmetic on a CPU.
    hue = (red - green).add_(chroma, alpha=4)
    mask = value.clone().eq_(green)
    candidate = (blue - red).add_(chroma, alpha=2)
    hue.addcmul_(mask, candidate.sub_(hue))
    mask.copy_(value).eq_(red)
    hue.addcmul_(mask, torch.sub(green, blue, out=candidate).sub_(hue))
    # Where chroma is 0 so is the numerator: any hue serves.
    hue.div_(torch.clamp(chroma, min=1e-20, out=mask)).add_(6 * shift.view(-1, 1, 1))
    hue.sub_(torch.div(hue, 6).floor_(), alpha=6)
    wave = candidate
    torch.sub(hue, 3, out=wave).abs_().sub_(1).clamp_(0, 1)
    torch.addcmul(lowest, chroma, wave, out=red)
    torch.sub(hue, 2, out=wave).abs_().neg_().add_(2).clamp_(0, 1)
    torch.addcmul(lowest, chroma, wave, out=green)
    torch.sub(hue, 4, out=wave).abs_().neg_().add_(2).clamp_(0, 1)
    torch.addcmul(lowest, chroma, wave, out=blue)
    return images


def to_gray_(images: Tensor) -> Tensor:
    """Sets all three channels to the gray value."""
    return images.copy_(luma(images).expand_as(images))


def solarize_(images: Tensor, threshold: Tensor) -> Tensor:
    """Inverts the values at or above the image's threshold (0..256)."""
    mask = images.clone().ge_(_per_image(threshold))
    return images.addcmul_(mask, images.mul(-2).add_(MAX_VALUE))


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
