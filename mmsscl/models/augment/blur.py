"""Both blurs as separable linear maps: ``blurred = A @ image @ B^T``.

A resize blur (bicubic, antialiased, down and up again: what SCRL's released code uses) and a Gaussian blur with
reflected borders are each a fixed linear map along an axis. As matrices they run as batched products, whatever the
image, with one matrix per image where the Gaussian's width differs.
"""
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from mmsscl.models.augment.color import MAX_VALUE

# Output rows per block where the zeros outside the band are skipped.
_BLOCK = 32


def reduced_size(size: int, factor: float) -> int:
    """The side in pixels that a resize blur goes through: ``size / factor`` rounded down, at least 1.

    ``factor`` may have passed through float32, so a hair is added before rounding.
    """
    return max(1, int(size / factor + 1e-4))


def gaussian_kernel_size(size: int) -> int:
    """A tenth of the side, made odd (SimCLR, appendix A; 23 at 224 px)."""
    return size // 10 // 2 * 2 + 1


@lru_cache(maxsize=256)
def resize_blur_matrix(size: int, reduced: int, device: torch.device) -> tuple[Tensor, int]:
    """The map of resizing an axis of ``size`` pixels to ``reduced`` and back.

    Returns:
        The matrix, float32 (size, size), and its reach: how many pixels off the diagonal its last non-zero lies.
    """
    down = _resize_matrix(size, reduced)
    matrix = _resize_matrix(reduced, size) @ down
    rows, columns = matrix.abs().gt(1e-9).nonzero(as_tuple=True)
    return matrix.float().to(device, non_blocking=True), int((rows - columns).abs().max())


def _resize_matrix(source: int, target: int) -> Tensor:
    """float64 (target, source): torch's own antialiased bicubic, applied to the identity."""
    identity = torch.eye(source, dtype=torch.float64)[None, None]
    return functional.interpolate(identity, size=(target, source), mode="bicubic", antialias=True)[0, 0]


def gaussian_blur_matrices(size: int, kernel_size: int, sigma: Tensor) -> Tensor:
    """The maps of a Gaussian blur with reflected borders along an axis.

    Args:
        size: length of the axis in pixels; larger than half the kernel.
        kernel_size: odd.
        sigma: (n,) standard deviations in pixels, above 0.

    Returns:
        float32 (n, size, size).
    """
    radius = kernel_size // 2
    offset = torch.arange(-radius, radius + 1, dtype=torch.float32, device=sigma.device)
    weights = torch.softmax(-0.5 * (offset / sigma[:, None]).square(), dim=1)
    # The matrix for an axis padded on both sides: the weights along its diagonals ...
    padded_size = size + 2 * radius
    padded = torch.zeros(len(sigma), size, padded_size, device=sigma.device)
    diagonals = padded.as_strided((len(sigma), size, kernel_size), (size * padded_size, padded_size + 1, 1))
    diagonals.copy_(weights[:, None])
    # ... and the padding folded back onto the pixels that it mirrors.
    matrices = padded[:, :, radius : radius + size]
    matrices[:, :, 1 : radius + 1] += padded[:, :, :radius].flip(-1)
    matrices[:, :, size - 1 - radius : size - 1] += padded[:, :, radius + size :].flip(-1)
    return matrices


def resize_blur(images: Tensor, factor: float) -> Tensor:
    """Bicubic antialiased resize down by ``factor`` and back up, then clamped to 0..255.

    Equals torchvision's ``resize`` twice on float images; the clamp comes once, at the end.

    Args:
        images: float32 (n, 3, H, W), 0..255.
        factor: at least 1.

    Returns:
        A new tensor of the same shape.
    """
    height, width = images.shape[-2:]
    rows, row_reach = resize_blur_matrix(height, reduced_size(height, factor), images.device)
    columns, column_reach = resize_blur_matrix(width, reduced_size(width, factor), images.device)
    return apply_separable(images, rows[None], columns[None], row_reach, column_reach).clamp_(0, MAX_VALUE)


def gaussian_blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur, kernel of a tenth of each side, borders reflected.

    Args:
        images: float32 (n, 3, H, W), 0..255.
        sigma: (n,) in pixels.

    Returns:
        A new tensor of the same shape.
    """
    height, width = images.shape[-2:]
    row_kernel, column_kernel = gaussian_kernel_size(height), gaussian_kernel_size(width)
    rows = gaussian_blur_matrices(height, row_kernel, sigma)
    columns = rows if height == width else gaussian_blur_matrices(width, column_kernel, sigma)
    return apply_separable(images, rows, columns, row_kernel // 2, column_kernel // 2)


def apply_separable(images: Tensor, rows: Tensor, columns: Tensor, row_reach: int, column_reach: int) -> Tensor:
    """``rows @ image @ columns^T`` for each image and channel, in float32.

    Args:
        images: (n, 3, H, W).
        rows: (n or 1, H, H).
        columns: (n or 1, W, W).
        row_reach: entries of ``rows`` farther than this from the diagonal are zero.
        column_reach: the same of ``columns``.

    Returns:
        A new tensor (n, 3, H, W).
    """
    with torch.autocast(device_type=images.device.type, enabled=False):
        if images.device.type != "cpu":
            return rows[:, None] @ images @ columns[:, None].mT
        # A CPU core is short of arithmetic, not of launches: skip the zeros outside the band.
        height, width = images.shape[-2:]
        mixed = torch.empty_like(images)
        for start in range(0, height, _BLOCK):
            stop, low = min(start + _BLOCK, height), max(start - row_reach, 0)
            high = min(stop + row_reach, height)
            mixed[:, :, start:stop] = rows[:, None, start:stop, low:high] @ images[:, :, low:high]
        blurred = torch.empty_like(images)
        for start in range(0, width, _BLOCK):
            stop, low = min(start + _BLOCK, width), max(start - column_reach, 0)
            high = min(stop + column_reach, width)
            blurred[..., start:stop] = mixed[..., low:high] @ columns[:, None, start:stop, low:high].mT
        return blurred
