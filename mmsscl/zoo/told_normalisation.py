"""What a file says of how images were normalised for its backbone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mmsscl.errors import InputError
from mmsscl.zoo.normalisation import Normalisation, in_255


class Told(NamedTuple):
    """What a file says.

    Attributes:
        normalisation: Of its images; None: the file does not tell.
        remarks: What its user must know of it.
        fault: Why it cannot be told, where the file says something that makes no sense.
    """

    normalisation: Normalisation | None
    remarks: tuple[str, ...] = ()
    fault: str = ""


def told_normalisation(meta: Mapping[str, Any], config: Mapping[str, Any], path: str | Path) -> Told:
    """By its meta, else by its training config.

    Args:
        meta: Of the file.
        config: Of its training, as :func:`~mmsscl.zoo.read_backbone.stored_config` returns it.
        path: The file, for messages.
    """
    try:
        if {"mean", "std", "channel_order"} <= meta.keys():
            return _by_meta(meta, path)
        return _by_config(config, path)
    except InputError as error:
        return Told(None, fault=str(error))


def preprocessor_normalisation(preprocessor: Mapping[str, Any], place: str) -> Normalisation:
    """What a ``data_preprocessor`` does, which gets 8-bit images: OpenMMLab's in BGR, mmsscl's own in RGB.

    Args:
        preprocessor: With ``mean`` and ``std``.
        place: Where it stands, for messages.

    Raises:
        InputError: They are not three numbers each.
    """
    mean, std, _ = in_255(preprocessor["mean"], preprocessor["std"], f"{place}.", 255)
    rgb = is_own(preprocessor) or any(preprocessor.get(key) for key in ("to_rgb", "bgr_to_rgb"))
    return Normalisation(mean, std, "RGB" if rgb else "BGR", "the config in the file")


def is_own(preprocessor: Mapping[str, Any]) -> bool:
    """Whether it is mmsscl's, of whatever scope."""
    return str(preprocessor.get("type")).endswith("PairDataPreprocessor")


def _by_meta(meta: Mapping[str, Any], path: str | Path) -> Told:
    order = str(meta["channel_order"]).upper()
    if order not in ("RGB", "BGR"):
        raise InputError(f"checkpoint {path}: meta.channel_order is {meta['channel_order']!r}, neither RGB nor BGR.")
    # mmsscl export writes numbers of 0 to 255, however small they are
    pixel_range = 255 if "backbone" in meta else None
    mean, std, remarks = in_255(meta["mean"], meta["std"], f"checkpoint {path}: meta.", pixel_range)
    return Told(Normalisation(mean, std, order, "the file"), tuple(remarks))


def _by_config(config: Mapping[str, Any], path: str | Path) -> Told:
    model = config.get("model")
    for place in (model if isinstance(model, dict) else {}, config):
        preprocessor = place.get("data_preprocessor")
        numbers = _numbers(preprocessor, config.get("default_scope"), path) if isinstance(preprocessor, dict) else None
        if numbers is not None:
            return Told(preprocessor_normalisation(numbers, f"checkpoint {path}: data_preprocessor"))
    old = config.get("img_norm_cfg")
    if not isinstance(old, dict) or old.get("mean") is None or old.get("std") is None:
        return Told(None)
    mean, std, remarks = in_255(old["mean"], old["std"], f"checkpoint {path}: img_norm_cfg.")
    if "to_rgb" not in old:
        remarks.append("img_norm_cfg names no channel order: RGB, as mmselfsup's PIL reads and mmcv's Normalize makes them")
    order = "RGB" if old.get("to_rgb", True) else "BGR"
    return Told(Normalisation(mean, std, order, "the config in the file"), tuple(remarks))


def _numbers(preprocessor: dict[str, Any], scope: Any, path: str | Path) -> dict[str, Any] | None:
    """With mean and std; None where they are left out of one that cannot be built here."""
    if preprocessor.get("mean") is not None and preprocessor.get("std") is not None:
        return preprocessor
    scope = "mmsscl" if is_own(preprocessor) else scope
    if "type" not in preprocessor or scope not in ("mmsscl", "mmpretrain"):
        return None
    from mmsscl.registry import MODELS

    # a config may leave these to the constructor: then they are what the built preprocessor holds
    try:
        built = MODELS.build(dict(preprocessor, _scope_=scope))
    except (LookupError, TypeError, ValueError, AssertionError) as error:
        raise InputError(f"checkpoint {path}: its data_preprocessor cannot be built ({error}).") from error
    found = {key: getattr(built, key, None) for key in ("mean", "std")}
    if any(value is None for value in found.values()):
        raise InputError(f"checkpoint {path}: its data_preprocessor {preprocessor['type']} has no mean and std.")
    return {**{key: torch.as_tensor(value).flatten().tolist() for key, value in found.items()}, "type": preprocessor["type"],
            **{key: preprocessor[key] for key in ("to_rgb", "bgr_to_rgb") if key in preprocessor}}  # fmt: skip
