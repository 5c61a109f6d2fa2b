"""What mmdet and pycocotools take for granted of a COCO json, checked before they fail on it."""
import json
import math
from collections.abc import Callable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from mmsscl.errors import InputError


def read_coco(file: Path) -> dict[str, Any]:
    """Read a detection data set in COCO format.

    Args:
        file: A json.

    Returns:
        Its content, checked by :func:`check_coco`.

    Raises:
        InputError: No such file, no json, without images, annotations or categories, or at fault as ``check_coco`` says.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}). Give a json in COCO format.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: is not a json file ({error}). Export the annotations in COCO format.") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: holds a {type(content).__name__}, not an object. Export in COCO format.")
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list) or not content[key]:
            raise InputError(
                f"{file}: has no {key!r}. A COCO-format file has non-empty lists images, annotations and categories."
            )
    check_coco(content, file)
    return content


def check_coco(content: dict[str, Any], file: Path) -> None:
    """Check the images, categories and annotations of a detection data set.

    Args:
        content: The json, with lists ``images``, ``categories`` and ``annotations``.
        file: Its path, for the message.

    Raises:
        InputError: At the first kind of fault: what, where (the first entry that has it), how many have it, the remedy.
    """
    for key in ("images", "categories", "annotations"):
        _require(content[key], lambda entry: isinstance(entry, dict), f"{file}: {key}", "is no object", "Give {...}.")
        _require(content[key], lambda entry: _is_id(entry.get("id")), f"{file}: {key}", "has no id", "Number them.")
        _require_unique([entry["id"] for entry in content[key]], f"{file}: {key}")
    images, categories, annotations = (content[key] for key in ("images", "categories", "annotations"))
    _require(
        images, lambda image: isinstance(image.get("file_name"), str) and image["file_name"], f"{file}: images",
        "has no file_name", "Each image needs its path.",
    )  # fmt: skip
    _require(
        images, lambda image: all(_is_side(image.get(key)) for key in ("width", "height")), f"{file}: images",
        "has no width and height in pixels", "Write both, as whole numbers above 0.",
    )  # fmt: skip
    known_images, known_categories = {image["id"] for image in images}, {entry["id"] for entry in categories}
    where = f"{file}: annotations"
    _require(
        annotations, lambda entry: _hashable_in(entry.get("image_id"), known_images), where,
        "has an image_id that no image has", "Remove it, or add its image.",
    )  # fmt: skip
    _require(
        annotations, lambda entry: _hashable_in(entry.get("category_id"), known_categories), where,
        "has a category_id that no category has", "Correct it, or add the category.",
    )  # fmt: skip
    _require(
        annotations, lambda entry: _is_box(entry.get("bbox")), where, "has no usable bbox",
        "A box is [x, y, width, height], finite numbers, width and height at least 0.",
    )  # fmt: skip
    _require(
        annotations, lambda entry: _is_number(entry.get("area")) and entry["area"] >= 0, where, "has no area",
        "Write the box's width times height where nothing better is known.",
    )  # fmt: skip
    _require(
        annotations, lambda entry: entry.get("iscrowd") in (0, 1), where, "has no iscrowd",
        "Write 0; 1 for a region of many objects.",
    )  # fmt: skip


def _require(entries: Sequence[Any], holds: Callable[[Any], Any], where: str, fault: str, remedy: str) -> None:
    wrong = [position for position, entry in enumerate(entries) if not holds(entry)]
    if wrong:
        more = f" ({len(wrong)} such entries)" if len(wrong) > 1 else ""
        shown = repr(entries[wrong[0]])
        raise InputError(f"{where}[{wrong[0]}] {fault}{more}: {shown[:200]}. {remedy}")


def _require_unique(ids: Sequence[Any], where: str) -> None:
    first: dict[Any, int] = {}
    for position, value in enumerate(ids):
        if value in first:
            raise InputError(
                f"{where}[{position}] has the id {value!r} of {where.rsplit(' ', 1)[1]}[{first[value]}]; one would hide the "
                "other. Number them anew."
            )
        first[value] = position


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_side(value: Any) -> bool:
    return _is_number(value) and value >= 1 and value == int(value)


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value)) and min(value[2:]) >= 0


def _hashable_in(value: Any, known: set[Any]) -> bool:
    return _is_id(value) and value in known
