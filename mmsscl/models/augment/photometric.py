"""The whole photometric chain on a batch, with each image's own parameters.

Order, as in SCRL's code: colour jitter (four operations, each image in its own order), gray, blur, solarize.
Every operation runs on just the images that need it. Which ones is worked out from the parameters while they are still
on the CPU, and sent ahead as index tensors: the device is never waited for.
"""
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmsscl.models.augment import blur, color
from mmsscl.structures.photometric import JITTER_OPS, JITTER_ORDERS, SOLARIZE_OFF, PhotometricColumn

_JITTER = {
    PhotometricColumn.BRIGHTNESS: (color.adjust_brightness_, 1.0),
    PhotometricColumn.CONTRAST: (color.adjust_contrast_, 1.0),
    PhotometricColumn.SATURATION: (color.adjust_saturation_, 1.0),
    PhotometricColumn.HUE: (color.adjust_hue_, 0.0),
}
# The last row serves index -1, no jitter: no operation has the number -1.
_ORDER_TABLE = np.array([*JITTER_ORDERS, (-1,) * len(JITTER_OPS)], dtype=np.int64)


@dataclass(frozen=True)
class PhotometricStep:
    """One operation on some of the images.

    Attributes:
        operation: the column that names it.
        rows: int64 (n,) the images it applies to; None: all of them.
        values: float32 (n,) the parameter of each of these images.
        factor: the resize blur's factor, one for the whole step.
    """

    operation: PhotometricColumn
    rows: Tensor | None
    values: Tensor
    factor: float = 1.0


def plan_photometric(photometric: Tensor, device: torch.device) -> list[PhotometricStep]:
    """Groups the images by what is to be done to them.

    Args:
        photometric: float32 (n, P) **on the CPU**, columns as in ``PhotometricColumn``. (One that already lies on a
            GPU is fetched back, which waits for the device.)
        device: where the images are.

    Returns:
        The steps in the order in which they are to run; steps that change nothing are left out.
    """
    table = photometric.detach().cpu().numpy()
    groups: list[tuple[PhotometricColumn, np.ndarray, float]] = []
    operations = _ORDER_TABLE[table[:, PhotometricColumn.JITTER_ORDER].astype(np.int64)]
    changes = {name: table[:, name] != neutral for name, (_, neutral) in _JITTER.items()}
    for position in range(len(JITTER_OPS)):
        for name, change in changes.items():
            groups.append((name, np.flatnonzero((operations[:, position] == name) & change), 1.0))
    groups.append((PhotometricColumn.GRAY, np.flatnonzero(table[:, PhotometricColumn.GRAY] > 0.5), 1.0))
    factors = table[:, PhotometricColumn.RESIZE_FACTOR]
    for factor in np.unique(factors[factors > 1]):
        groups.append((PhotometricColumn.RESIZE_FACTOR, np.flatnonzero(factors == factor), float(factor)))
    groups.append((PhotometricColumn.BLUR_SIGMA, np.flatnonzero(table[:, PhotometricColumn.BLUR_SIGMA] > 0), 1.0))
    solarized = table[:, PhotometricColumn.SOLARIZE] < SOLARIZE_OFF
    groups.append((PhotometricColumn.SOLARIZE, np.flatnonzero(solarized), 1.0))

    groups = [group for group in groups if len(group[1])]
    if not groups:
        return []
    sizes = [len(rows) for _, rows, _ in groups]
    # All indices and all parameters go to the device in one copy each.
    all_rows = _send(np.concatenate([rows for _, rows, _ in groups]), device).split(sizes)
    all_values = _send(np.concatenate([table[rows, name] for name, rows, _ in groups]), device).split(sizes)
    return [
        PhotometricStep(name, None if len(rows) == len(table) else row_tensor, values, factor)
        for (name, rows, factor), row_tensor, values in zip(groups, all_rows, all_values)
    ]


def _send(array: np.ndarray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def apply_photometric_(images: Tensor, photometric: Tensor) -> Tensor:
    """Runs the chain on ``images`` in place.

    Args:
        images: float32 (n, 3, H, W), RGB, 0..255, any device.
        photometric: float32 (n, P), on the CPU.

    Returns:
        ``images``, changed; values stay in 0..255.
    """
    with torch.no_grad(), torch.autocast(device_type=images.device.type, enabled=False):
        for step in plan_photometric(photometric, images.device):
            subset = images if step.rows is None else images.index_select(0, step.rows)
            result = _run(step, subset)
            if step.rows is not None:
                images.index_copy_(0, step.rows, result)
            elif result is not images:
                images.copy_(result)
    return images


def _run(step: PhotometricStep, images: Tensor) -> Tensor:
    if step.operation in _JITTER:
        return _JITTER[step.operation][0](images, step.values)
    if step.operation is PhotometricColumn.GRAY:
        return color.to_gray_(images)
    if step.operation is PhotometricColumn.RESIZE_FACTOR:
        return blur.resize_blur(images, step.factor)
    if step.operation is PhotometricColumn.BLUR_SIGMA:
        return blur.gaussian_blur(images, step.values)
    return color.solarize_(images, step.values)
