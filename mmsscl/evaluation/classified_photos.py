"""Photos with classes: a folder for each, or a COCO json."""
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmsscl.datasets.label_split import class_files
from mmsscl.datasets.photo_files import PhotoFiles
from mmsscl.engine.check_coco import read_coco
from mmsscl.errors import InputError


class ClassifiedPhotos(NamedTuple):
    """Photos and what is on them.

    Attributes:
        paths: Of the photos.
        shown: int64 (photos,), the class of each; or bool (photos, classes), which classes a photo shows.
        classes: Their names.
    """

    paths: list[str]
    shown: np.ndarray
    classes: list[str]

    @property
    def labels(self) -> np.ndarray:
        """int64 (photos,): the class of each photo.

        Raises:
            InputError: One has none, or several.
        """
        if self.shown.ndim == 1:
            return self.shown
        counts = self.shown.sum(1)
        if (counts != 1).any():
            index = int((counts != 1).argmax())
            raise InputError(
                f"{self.paths[index]}: has {counts[index]} classes; this measure needs photos of one class each. Use the "
                "SVM, which takes photos of several."
            )
        return self.shown.argmax(1)

    @property
    def targets(self) -> np.ndarray:
        """bool (photos, classes): which classes a photo shows."""
        return np.eye(len(self.classes), dtype=bool)[self.shown] if self.shown.ndim == 1 else self.shown


def labelled_folder(folder: str | os.PathLike) -> ClassifiedPhotos:
    """The photos of a folder that holds a folder for each class.

    Args:
        folder: Its subfolders are the classes, sorted by name; photos are searched in them at any depth.

    Raises:
        InputError: There is no such folder, fewer than two classes, or a class without photos.

    Example:
        >>> labelled_folder("photos/train").classes            # doctest: +SKIP
        ['cat', 'dog']
    """
    files = class_files(folder)
    paths = [os.path.join(os.path.expanduser(folder), path) for found in files.values() for path in found]
    labels = np.repeat(np.arange(len(files)), [len(found) for found in files.values()])
    return ClassifiedPhotos(paths, labels, list(files))


def labelled_json(file: str | os.PathLike, images: str | os.PathLike) -> ClassifiedPhotos:
    """The photos of a COCO json with the classes of their objects, several a photo; those without objects too.

    Objects marked ``iscrowd`` (VOC's "difficult" ones, where a conversion marks these so) do not count, as in VOC's
    classification task.

    Args:
        file: The json.
        images: Folder that its file names are relative to.

    Raises:
        InputError: The json is faulty, or a photo is absent.
    """
    file = Path(file)
    content = read_coco(file)
    photos = PhotoFiles.from_file(str(file), str(images))
    column = {category["id"]: position for position, category in enumerate(content["categories"])}
    row = {image["id"]: position for position, image in enumerate(content["images"])}
    targets = np.zeros((len(row), len(column)), dtype=bool)
    for annotation in content["annotations"]:
        if not annotation.get("iscrowd"):
            targets[row[annotation["image_id"]], column[annotation["category_id"]]] = True
    names = [str(category["name"]) for category in content["categories"]]
    return ClassifiedPhotos([photos[index] for index in range(len(photos))], targets, names)


def require_same_classes(train: ClassifiedPhotos, val: ClassifiedPhotos, train_name: str, val_name: str) -> None:
    """Check that two sets number their classes alike.

    Raises:
        InputError: Naming the classes that only one of them has.
    """
    if train.classes == val.classes:
        return
    only = {train_name: set(train.classes) - set(val.classes), val_name: set(val.classes) - set(train.classes)}
    told = "; ".join(f"only in {name}: {', '.join(sorted(names)[:5])}" for name, names in only.items() if names)
    raise InputError(f"{train_name} and {val_name} hold other classes ({told or 'in another order'}). Name them alike.")
