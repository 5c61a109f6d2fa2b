"""How images must be normalised for a backbone: what is known of it, and how each library is told."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmsscl.errors import InputError


@dataclass(frozen=True)
class Normalisation:
    """What ``(pixels - mean) / std`` a backbone was trained on.

    Attributes:
        mean: Of the three channels, in 0..255, in the order of ``channel_order``.
        std: Likewise.
        channel_order: "RGB" or "BGR".
        origin: Who says so.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: str
    origin: str = ""

    def same(self, other: "Normalisation") -> bool:
        """Whether images come out alike, up to half a unit of 8-bit images."""
        pairs = [*zip(self.mean, other.mean), *zip(self.std, other.std)]
        return self.channel_order == other.channel_order and all(abs(a - b) <= 0.5 for a, b in pairs)

    def describe(self) -> str:
        """Such as "RGB, mean [123.675, 116.28, 103.53], std [58.395, 57.12, 57.375]"."""
        return f"{self.channel_order}, mean {_short(self.mean)}, std {_short(self.std)}"


IMAGENET_RGB = Normalisation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "RGB")
UNIT_RGB = Normalisation((0.0, 0.0, 0.0), (255.0, 255.0, 255.0), "RGB")
"""Pixels of 0..1, not normalised any further."""
CAFFE_BGR = Normalisation((103.53, 116.28, 123.675), (1.0, 1.0, 1.0), "BGR")
"""Of the ResNets that Caffe trained, which detectron2's configs expect."""

_DEFAULTS = {"mmdet": IMAGENET_RGB, "mmpretrain": IMAGENET_RGB, "torchvision": IMAGENET_RGB, "timm": IMAGENET_RGB,
             "detectron2": CAFFE_BGR}  # fmt: skip


def stated_normalisation(
    known: Normalisation | None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    channel_order: str | None = None,
    pixel_range: int | None = None,
) -> tuple[Normalisation | None, list[str]]:
    """What is known of a file, changed by what its user says of it.

    Args:
        known: Of the file; None: nothing.
        mean: Of the channels in the order that the network takes them.
        std: Likewise.
        channel_order: "RGB" or "BGR".
        pixel_range: 1 or 255: the pixels that ``mean`` and ``std`` are of; None: told by their size.

    Returns:
        The normalisation in 0..255, None where parts of it stay unknown; and remarks.

    Raises:
        InputError: Not three numbers, a ``std`` that is not above 0, another order or range; numbers that fit both ranges;
            one of ``mean`` and ``std`` without the other, or a range without them.
    """
    if channel_order is not None and channel_order not in ("RGB", "BGR"):
        raise InputError(f"--channel-order {channel_order}: give RGB or BGR.")
    if pixel_range not in (None, 1, 255):
        raise InputError(f"--pixel-range {pixel_range}: give 1 (pixels from 0 to 1) or 255.")
    if (mean is None) != (std is None):
        raise InputError(f"--{'mean' if mean is None else 'std'}: is missing; give --mean and --std together.")
    if pixel_range is not None and mean is None:
        raise InputError(f"--pixel-range {pixel_range}: says what --mean and --std are of. Give them too.")
    if mean is None and channel_order is None:
        return known, []
    remarks: list[str] = []
    if mean is not None and std is not None:
        mean, std, remarks = in_255(mean, std, "--", pixel_range)
    elif known is not None:
        mean, std = known.mean, known.std
        if channel_order != known.channel_order:
            mean, std = mean[::-1], std[::-1]
            remarks.append(f"mean and std are those of {known.channel_order}, reversed for {channel_order}")
    order = channel_order or (known.channel_order if known is not None else None)
    if mean is None or std is None or order is None:
        return None, remarks
    return Normalisation(tuple(mean), tuple(std), order, "you"), remarks


def in_255(
    mean: Any, std: Any, place: str, pixel_range: int | None = None
) -> tuple[tuple[float, ...], tuple[float, ...], list[str]]:
    """Check ``mean`` and ``std``, and bring them to pixels of 0..255.

    Args:
        mean: Three numbers, whoever says them.
        std: Likewise.
        place: What stands before "mean" and "std" where they were said, for messages: "--".
        pixel_range: 1 or 255: the pixels that they are of; None: told by their size.

    Returns:
        Both, and remarks.

    Raises:
        InputError: Not three finite numbers each, a ``std`` that is not above 0; numbers that fit both ranges.
    """
    means, stds = _three(mean, f"{place}mean"), _three(std, f"{place}std")
    if min(stds) <= 0:
        raise InputError(f"{place}std {_short(stds)}: every value must be above 0.")
    small = max(map(abs, means)) <= 1 and max(stds) <= 1
    if pixel_range is None and small and not any(means) and min(stds) == 1:
        raise InputError(
            f"{place}mean 0 0 0, {place}std 1 1 1: fits pixels from 0 to 1 and from 0 to 255. Say which with --mean 0 0 0 "
            "--std 1 1 1 and --pixel-range 1 or 255."
        )
    if pixel_range == 1 or (pixel_range is None and small):
        means, stds = (tuple(round(value * 255, 4) for value in values) for values in (means, stds))
        return means, stds, ["mean and std are of pixels from 0 to 1; times 255 in what is written"]
    return means, stds, []


def mismatch(target: str, found: Normalisation) -> str | None:
    """In what a backbone's images differ from those that a library's own configs give it; None: in nothing.

    Args:
        target: "mmdet", "mmpretrain", "torchvision", "timm" or "detectron2".
        found: Of the backbone.
    """
    usual = _DEFAULTS[target]
    if usual.same(found):
        return None
    same_order = usual.channel_order == found.channel_order
    faults = [] if same_order else [f"channel order {found.channel_order}, not {usual.channel_order}"]
    for name in ("mean", "std"):
        values, others = getattr(found, name), getattr(usual, name)
        if any(abs(a - b) > 0.5 for a, b in zip(values if same_order else values[::-1], others)):
            # the same numbers in the other order are those of other channels
            other = f"in the order {found.channel_order}" if values == others else f"not {_short(others)}"
            faults.append(f"{name} {_short(values)}, {other}")
    return f"{target}'s own configs normalise otherwise; this backbone needs {'; '.join(faults)}"


def settings_for(target: str, found: Normalisation, config: dict[str, Any]) -> list[str]:
    """What to set so that a library normalises images as a backbone needs it.

    Args:
        target: As of :func:`mismatch`.
        found: Of the backbone.
        config: Of the backbone, for mmpretrain.
    """
    mean, std, rgb = _short(found.mean), _short(found.std), found.channel_order == "RGB"
    if target == "mmdet":
        return [f"model.data_preprocessor: mean={mean}, std={std}, bgr_to_rgb={rgb}"]
    if target == "mmpretrain":
        return [f"data_preprocessor: mean={mean}, std={std}, to_rgb={rgb}"]
    if target == "detectron2":
        depth = config.get("depth")
        caffe = config.get("style") == "caffe"
        lines = [f"MODEL.PIXEL_MEAN {mean}, MODEL.PIXEL_STD {std}, INPUT.FORMAT {found.channel_order}"]
        lines.append(f"MODEL.RESNETS.DEPTH {depth}, MODEL.RESNETS.STRIDE_IN_1X1 {caffe}, MODEL.RESNETS.NORM SyncBN")
        lines.append("MODEL.BACKBONE.FREEZE_AT 0 (the whole backbone is trained)")
        return lines + (["MODEL.RESNETS.RES2_OUT_CHANNELS 64"] if depth in (18, 34) else [])
    unit = [_short([value / 255 for value in values]) for values in (found.mean, found.std)]
    lines = [f"normalise images of 0..1 by mean={unit[0]}, std={unit[1]}"]
    return lines if rgb else [*lines, "images must be BGR: image = image.flip(-3)"]


def _three(values: Any, place: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise InputError(f"{place} {values!r}: give three numbers, one a channel.")
    return numbers


def _short(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.6g}" for value in values) + "]"
