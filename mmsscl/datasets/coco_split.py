"""A share of a COCO data set's labels, the same on every machine."""
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsscl.atomic_file import atomic_file
from mmsscl.engine.check_coco import read_coco
from mmsscl.errors import InputError


@dataclass(frozen=True)
class CocoSplit:
    """What was written.

    Attributes:
        file: The json.
        images: Its number of images.
        annotations: Its number of annotations.
        absent: Categories of which the whole file has annotations and the share has none.
    """

    file: Path
    images: int
    annotations: int
    absent: tuple[str, ...]


def write_coco_split(
    source: str | Path, output: str | Path, percent: float, fold: int = 0, allow_missing_classes: bool = False
) -> CocoSplit:
    """Write a json with a share of the images and all their annotations; categories and whatever else it holds stay.

    Images are ranked by a hash of their id and the fold (:func:`ranked_ids`), and the first of them are taken. So the
    choice depends on ids alone, not on their order, the machine or the versions of Python and NumPy; the 1 % lie within the
    10 % of the same fold. Images without objects count.

    Args:
        source: The whole json.
        output: Where the share goes; the folder is made.
        percent: In (0, 100), of the images; rounded to whole images, 1 at least.
        fold: Another one, another choice.
        allow_missing_classes: Accept a share in which some category of the whole has no object left.

    Returns:
        What was written.

    Raises:
        InputError: A percentage out of range, the output over the source, a fault of the source, or classes that the share
            lacks.

    Example:
        >>> write_coco_split("instances_train2017.json", "instances_train2017.0@1.json", 1).images  # doctest: +SKIP
        1173
    """
    source, output = Path(source), Path(output)
    if isinstance(percent, bool) or not 0 < percent < 100:
        raise InputError(f"percent: {percent!r} is no share of the images. Give a number above 0 and below 100, such as 10.")
    if isinstance(fold, bool) or not isinstance(fold, int) or fold < 0:
        raise InputError(f"fold: {fold!r} is no number of a fold. Give a whole number from 0.")
    if source.exists() and output.exists() and source.samefile(output):
        raise InputError(f"{output}: is the file to take the share of, and would be lost. Name another output.")
    content = read_coco(source)
    ids = [image["id"] for image in content["images"]]
    chosen = set(ranked_ids(ids, fold)[: max(1, round(len(ids) * percent / 100))])
    share = dict(
        content,
        images=[image for image in content["images"] if image["id"] in chosen],
        annotations=[entry for entry in content["annotations"] if entry["image_id"] in chosen],
    )
    absent = _absent(content, share)
    if absent and not allow_missing_classes:
        raise InputError(
            f"{source}: {percent:g} % of its images ({len(chosen)}, fold {fold}) show no {', '.join(absent[:20])} "
            f"({len(absent)} of the classes that it has objects of). Take another fold or a larger share, or accept that "
            "they cannot be learnt: --allow-missing-classes."
        )
    try:
        with atomic_file(output) as file:
            file.write(json.dumps(share).encode("ascii"))
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror}). Name a place to write to.") from error
    return CocoSplit(output, len(share["images"]), len(share["annotations"]), tuple(absent))


def ranked_ids(ids: Iterable[int | str], fold: int = 0) -> list[int | str]:
    """Ids in an order that looks random and depends on themselves and the fold alone: of SHA-256 of ``fold:id``.

    Args:
        ids: Distinct; texts and numbers differ (``"7"`` and ``7``).
        fold: Another one, another order.
    """
    return sorted(ids, key=lambda value: hashlib.sha256(f"{fold}:{json.dumps(value)}".encode()).digest())


def _absent(whole: dict[str, Any], share: dict[str, Any]) -> list[str]:
    before, after = ({entry["category_id"] for entry in content["annotations"]} for content in (whole, share))
    lost = before - after
    return [str(category.get("name", category["id"])) for category in whole["categories"] if category["id"] in lost]
