"""Photometric parameters, drawn in the worker and applied later on the device."""
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from mmsscl.errors import InputError
from mmsscl.names import did_you_mean, near_names
from mmsscl.registry import TRANSFORMS
from mmsscl.structures.photometric import (
    JITTER_ORDERS,
    PhotometricColumn,
    identity_photometric,
)

# One uniform number per decision, drawn whether it is needed or not: a changed probability then changes nothing else.
_JITTER, _ORDER, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _GRAY, _BLUR, _BLUR_STRENGTH, _SOLARIZE = range(10)
_NUM_DRAWS = 10
_NEUTRAL: list[float] = identity_photometric().tolist()
_BOUNDS: dict[str, tuple[float, float]] = {
    "brightness": (0, math.inf),
    "contrast": (0, math.inf),
    "saturation": (0, math.inf),
    "hue": (0, 0.5),
    "jitter_prob": (0, 1),
    "gray_prob": (0, 1),
    "blur_prob": (0, 1),
    "solarize_prob": (0, 1),
    "solarize_threshold": (0, 255),
}


@dataclass(frozen=True)
class PhotometricLaw:
    """How one view's photometric parameters are distributed. The defaults are SCRL's first view.

    Attributes:
        brightness: factor uniform in [max(0, 1 - brightness), 1 + brightness].
        contrast: as brightness.
        saturation: as brightness.
        hue: shift uniform in [-hue, hue] turns, 0..0.5.
        jitter_prob: probability of the colour jitter (all four operations, in random order).
        gray_prob: probability of turning gray.
        blur_prob: probability of the blur.
        blur: "resize" (bicubic down and up again) or "gaussian".
        resize_factors: the factors of the resize blur, equally likely, each at least 1.
        sigma: the Gaussian's standard deviation in pixels, uniform in (low, high).
        solarize_prob: probability of solarization.
        solarize_threshold: values at or above it are inverted, 0..255.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    jitter_prob: float = 0.8
    gray_prob: float = 0.2
    blur_prob: float = 1.0
    blur: str = "resize"
    resize_factors: tuple[float, ...] = (1.1, 1.2, 1.5)
    sigma: tuple[float, float] = (0.1, 2.0)
    solarize_prob: float = 0.0
    solarize_threshold: float = 128

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: str) -> "PhotometricLaw":
        """Checks a config dict.

        Args:
            config: keys as the attributes above.
            where: how messages name the dict, e.g. ``DrawPhotometric.views[0]``.

        Raises:
            InputError: An unknown key or a value out of range.
        """
        if not isinstance(config, Mapping):
            raise InputError(f"{where} is {config!r}; it must be a dict such as dict(hue=0.1, blur_prob=1.0).")
        names = [field.name for field in fields(cls)]
        for key in config:
            if key not in names:
                hint = did_you_mean(near_names(str(key), names, count=1))
                raise InputError(
                    f"{where} has the unknown key {key!r}. {f'{hint} ' if hint else ''}Known keys: {', '.join(names)}."
                )
        values = dict(config)
        for key in values.keys() & _BOUNDS.keys():
            values[key] = _number(values[key], *_BOUNDS[key], f"{where}[{key!r}]")
        if "blur" in values and values["blur"] not in ("resize", "gaussian"):
            raise InputError(
                f"{where}['blur'] is {values['blur']!r}; use 'resize' or 'gaussian' (blur_prob=0 for none)."
            )
        if "resize_factors" in values:
            values["resize_factors"] = _numbers(values["resize_factors"], 1, math.inf, f"{where}['resize_factors']")
        if "sigma" in values:
            low_high = _numbers(values["sigma"], 1e-3, math.inf, f"{where}['sigma']")
            if len(low_high) != 2 or low_high[0] > low_high[1]:
                raise InputError(f"{where}['sigma'] is {values['sigma']!r}; give (low, high) with low <= high.")
            values["sigma"] = low_high
        return cls(**values)


def _number(value: Any, low: float, high: float, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high or math.isinf(value):
        bounds = f"from {low:g} to {high:g}" if high < math.inf else f"of at least {low:g}"
        raise InputError(f"{where} is {value!r}; it must be a number {bounds}.")
    return float(value)


def _numbers(values: Any, low: float, high: float, where: str) -> tuple[float, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) == 0:
        raise InputError(f"{where} is {values!r}; it must be a non-empty list of numbers.")
    return tuple(_number(value, low, high, f"{where}[{position}]") for position, value in enumerate(values))


SCRL_VIEWS: tuple[dict[str, Any], dict[str, Any]] = (
    {"blur_prob": 1.0, "solarize_prob": 0.0},
    {"blur_prob": 0.1, "solarize_prob": 0.2},
)
"""The two views of SCRL's released code."""


@TRANSFORMS.register_module()
class DrawPhotometric(BaseTransform):
    """Draws the photometric parameters of both views; the device applies them to the whole batch later.

    Every sample takes the same number of random numbers from the stream ``photometric``, whatever the probabilities:
    turning solarization off leaves all other parameters as they were.

    Required keys: ``streams`` (RandomStreams); ``local_geometry`` where there are local crops.
    Added keys: ``photometric``, float32 (2, P), columns as in
    :class:`mmsscl.structures.photometric.PhotometricColumn`; with local crops also ``local_photometric``, float32
    (L, P), from the stream ``local_photometric``: adding local crops changes no view.

    Args:
        views: two dicts, keys and defaults as in :class:`PhotometricLaw`. Defaults to SCRL's two views: blur with
            probability 1 and 0.1, solarization with probability 0 and 0.2.
        local: as one of ``views``, for the local crops. Defaults to the first view's with ``blur_prob=0.5``.

    Raises:
        InputError: Not two views, an unknown key or a value out of range.

    Example:
        >>> DrawPhotometric(views=[dict(blur="gaussian"), dict(blur="gaussian", blur_prob=0.1, solarize_prob=0.2)])
    """

    def __init__(
        self, views: Sequence[Mapping[str, Any]] = SCRL_VIEWS, local: Mapping[str, Any] | None = None
    ) -> None:
        if not isinstance(views, Sequence) or isinstance(views, str) or len(views) != 2:
            raise InputError(f"DrawPhotometric.views is {views!r}; it must be a list of two dicts, one for each view.")
        self.laws = [
            PhotometricLaw.from_config(view, f"DrawPhotometric.views[{index}]") for index, view in enumerate(views)
        ]
        if local is None:
            self.local_law = replace(self.laws[0], blur_prob=0.5)
        else:
            self.local_law = PhotometricLaw.from_config(local, "DrawPhotometric.local")

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Adds ``photometric``, and ``local_photometric`` where there are local crops."""
        streams = results["streams"]
        results["photometric"] = _rows(self.laws, streams.stream("photometric"))
        if "local_geometry" in results:
            laws = [self.local_law] * len(results["local_geometry"])
            results["local_photometric"] = _rows(laws, streams.stream("local_photometric"))
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(views={self.laws}, local={self.local_law})"


def _rows(laws: Sequence[PhotometricLaw], generator: np.random.Generator) -> np.ndarray:
    """One row for each law: float32 (len(laws), P)."""
    uniform = generator.random((len(laws), _NUM_DRAWS)).tolist()
    return np.array([_row(law, draws) for law, draws in zip(laws, uniform)], dtype=np.float32)


def _row(law: PhotometricLaw, uniform: list[float]) -> list[float]:
    """One view's parameters from ten uniform numbers in [0, 1)."""
    # Plain floats: on arrays of ten numpy costs more than it saves.
    row = _NEUTRAL.copy()
    if uniform[_JITTER] < law.jitter_prob:
        row[PhotometricColumn.JITTER_ORDER] = int(uniform[_ORDER] * len(JITTER_ORDERS))
        row[PhotometricColumn.BRIGHTNESS] = _factor(law.brightness, uniform[_BRIGHTNESS])
        row[PhotometricColumn.CONTRAST] = _factor(law.contrast, uniform[_CONTRAST])
        row[PhotometricColumn.SATURATION] = _factor(law.saturation, uniform[_SATURATION])
        row[PhotometricColumn.HUE] = law.hue * (2 * uniform[_HUE] - 1)
    if uniform[_GRAY] < law.gray_prob:
        row[PhotometricColumn.GRAY] = 1.0
    if uniform[_BLUR] < law.blur_prob:
        if law.blur == "resize":
            factors = law.resize_factors
            row[PhotometricColumn.RESIZE_FACTOR] = factors[int(uniform[_BLUR_STRENGTH] * len(factors))]
        else:
            low, high = law.sigma
            row[PhotometricColumn.BLUR_SIGMA] = low + (high - low) * uniform[_BLUR_STRENGTH]
    if uniform[_SOLARIZE] < law.solarize_prob:
        row[PhotometricColumn.SOLARIZE] = law.solarize_threshold
    return row


def _factor(strength: float, uniform: float) -> float:
    low = max(0.0, 1.0 - strength)
    return low + (1.0 + strength - low) * uniform


