"""Which images a data set holds, in a few bytes: what is kept by index is worth nothing under another numbering."""
import hashlib
import os
from typing import Any

import numpy as np

from mmsscl.datasets.scene_images import SceneImages
from mmsscl.datasets.shards import TarAddress
from mmsscl.errors import InputError

_MOST_SIZES = 64


def image_path(dataset: Any, index: int) -> str:
    """Path of an image of a data set.

    Args:
        dataset: ``SceneImages``, or a data set of mmengine's kind (mmpretrain's, mmdet's), which knows ``img_path``.
        index: 0 to ``len(dataset) - 1``.
    """
    if hasattr(dataset, "path"):
        return str(dataset.path(index))
    return str(dataset.get_data_info(index)["img_path"])


def dataset_fingerprint(dataset: Any) -> str:
    """The number of images and a hash of their paths in order and of the sizes of some files.

    The folder that all images share is left out, so a data set that was moved as a whole stays the same. Cameras and
    tools number files alike (0001.jpg, ...), so the sizes in bytes of up to 64 evenly spaced files count too. Not seen:
    other content of the same size, and other content between those files. Addresses (``s3://...``) have no size here;
    of them only the names count. The same photos in tar files (``mmsscl shards write``) are the same data set.

    Args:
        dataset: ``SceneImages``, or a data set of mmengine's kind.

    Returns:
        ``"<number>:<32 hexadecimal digits>"``.

    Raises:
        InputError: One of the files looked at is absent or out of reach.

    Example:
        >>> dataset_fingerprint(SceneImages(data_root="photos"))
        '5521:8b1a9953c4611296a827abf8c47804d7'
    """
    size = len(dataset)
    folders = {os.path.dirname(_name(dataset, index)) for index in range(size)}
    try:
        shared = os.path.commonpath(folders)
    except ValueError:  # none at all, or absolute and relative ones
        shared = ""
    start = len(shared.rstrip(os.sep)) + 1 if shared else 0
    digest = hashlib.blake2b(digest_size=16)
    # the names are made a second time: kept, ten million of them would take a gigabyte
    for index in range(size):
        digest.update(os.fsencode(_name(dataset, index)[start:]) + b"\0")
    if size:
        for index in np.linspace(0, size - 1, min(size, _MOST_SIZES)).round().astype(int):
            digest.update(_file_size(image_path(dataset, int(index))) + b"\0")
    return f"{size}:{digest.hexdigest()}"


def _name(dataset: Any, index: int) -> str:
    name = dataset.name(index) if isinstance(dataset, SceneImages) else image_path(dataset, index)
    # ./photos and photos//a.jpg are what photos and photos/a.jpg are
    odd = name.startswith("./") or "/./" in name or "//" in name
    return os.path.normpath(name) if odd and "://" not in name else name


def _file_size(path: str) -> bytes:
    if path.startswith("tar://"):
        return b"%d" % TarAddress.parse(path).size
    if "://" in path:
        return b""
    try:
        return b"%d" % os.stat(path).st_size
    except OSError as error:
        raise InputError(
            f"{path}: an image of the training data set cannot be found ({error.strerror}). Saliency maps are kept by "
            "image, so all of them must be there: check that their disk is mounted, and data_root and the list of images."
        ) from error
