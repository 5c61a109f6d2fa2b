"""Photos with classes: one folder a class."""
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmsscl.datasets.photo_files import PhotoFiles
from mmsscl.datasets.scene_images import EXTENSIONS
from mmsscl.errors import InputError


class LabelledPhotos(NamedTuple):
    """Photos and what is on them.

    Attributes:
        paths: Of the photos.
        targets: bool (photos, classes): which classes a photo shows; one where each photo has one class.
        classes: Their names.
    """

    paths: list[str]
    targets: np.ndarray
    classes: list[str]

    @property
    def labels(self) -> np.ndarray:
        """int64 (photos,): the class of each photo.

        Raises:
            InputError: One has none, or several.
        """
        counts = self.targets.sum(1)
        if (counts != 1).any():
            index = int((counts != 1).argmax())
            raise InputError(
                f"{self.paths[index]}: has {counts[index]} classes; this measure needs photos of one class each. Use the "
                "SVM, which takes photos of several."
            )
        return self.targets.argmax(1)


def labelled_folder(folder: str | os.PathLike) -> LabelledPhotos:
    """The photos of a folder that holds a folder for each class.

    Args:
        folder: Its subfolders are the classes, sorted by name; photos are searched in them at any depth.

    Raises:
        InputError: There is no such folder, fewer than two classes, or a class without photos.

    Example:
        >>> labelled_folder("photos/train").classes            # doctest: +SKIP
        ['cat', 'dog']
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Give one that holds a folder of photos for each class.")
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        raise InputError(f"{folder}: holds {len(classes)} class folders; at least two are needed, one for each class.")
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = PhotoFiles.from_folder(str(folder / name), EXTENSIONS)
        paths += [found[index] for index in range(len(found))]
        labels += [label] * len(found)
    return LabelledPhotos(paths, np.eye(len(classes), dtype=bool)[labels], classes)


def require_same_classes(train: LabelledPhotos, val: LabelledPhotos, train_name: str, val_name: str) -> None:
    """Check that two sets number their classes alike.

    Raises:
        InputError: Naming the classes that only one of them has.
    """
    if train.classes == val.classes:
        return
    only = {train_name: set(train.classes) - set(val.classes), val_name: set(val.classes) - set(train.classes)}
    told = "; ".join(f"only in {name}: {', '.join(sorted(names)[:5])}" for name, names in only.items() if names)
    raise InputError(f"{train_name} and {val_name} hold other classes ({told or 'in another order'}). Name them alike.")
