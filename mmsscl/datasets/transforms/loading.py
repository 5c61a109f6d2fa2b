"""Reading image files."""

from collections.abc import Callable
from functools import partial

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.fileio import get

from mmsscl.datasets.decoded_photos import KeptImage
from mmsscl.datasets.encoded_image import EncodedImage
from mmsscl.errors import UnreadableImageError
from mmsscl.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadSceneImage(BaseTransform):
    """Reads an image file and its header; pixels are decoded later, by the transform that knows how many it needs.

    Required key: ``img_path``; with ``decoded_photos`` (:class:`~mmsscl.datasets.decoded_photos.DecodedPhotos`) also
    ``sample_idx``: pixels that are kept there are not read again, others are kept once they are decoded. Added key:
    ``image`` (:class:`~mmsscl.datasets.EncodedImage`).

    Args:
        backend_args: Of mmengine's file backend, such as ``dict(backend="petrel")``; ``None`` picks it from the path.

    Raises:
        UnreadableImageError: The file is absent, unreadable, no JPEG, PNG or WebP, or cut short.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Puts ``image``."""
        path, photos = results["img_path"], results.get("decoded_photos")
        if photos is None:
            results["image"] = read_photo(path, self.backend_args)
            return results
        index = results["sample_idx"]
        pixels = photos.get(index)
        if pixels is None:
            results["image"] = read_photo(path, self.backend_args, partial(photos.put, index))
        else:
            results["image"] = KeptImage(pixels, path)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(backend_args={self.backend_args})"


def read_photo(
    path: str, backend_args: dict | None = None, keep: Callable[[np.ndarray], None] | None = None
) -> EncodedImage:
    """Reads an image file, or one in a tar file, and its header.

    Args:
        path: Of a file, or an address, as ``SceneImages.path`` gives.
        backend_args: As of :class:`LoadSceneImage`.
        keep: As of :class:`~mmsscl.datasets.EncodedImage`.

    Raises:
        UnreadableImageError: The file is absent, unreadable, no JPEG, PNG or WebP, or cut short.
    """
    try:
        data = get(path, backend_args=backend_args)
    except FileNotFoundError as error:
        raise UnreadableImageError(
            f"{path}: the image is absent. It was listed when the data set was built: check that its disk is "
            "mounted, and data_root, data_prefix and ann_file; or take it out of the list."
        ) from error
    except OSError as error:
        raise UnreadableImageError(
            f"{path}: the image cannot be read ({error.strerror or error}). Check its permissions and its disk."
        ) from error
    return EncodedImage(data, path, keep)
