"""Unlabelled photos from folders, text lists, COCO files or tar files."""

import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import accumulate

import numpy as np
from torch.utils.data import Dataset

from mmsscl.datasets.decoded_photos import DecodedPhotos
from mmsscl.datasets.photo_files import PhotoFiles
from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.datasets.shards import PhotoShards
from mmsscl.errors import InputError, UnreadableImageError
from mmsscl.registry import DATASETS, TRANSFORMS

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")
_MOST_SUBSTITUTES = 10
_SOURCE_KEYS = frozenset({"data_root", "data_prefix", "ann_file", "shards"})


@DATASETS.register_module()
class SceneImages(Dataset):
    """Photos without labels, from one or several sources; each sample's randomness depends on (seed, epoch, index).

    A source is one of four:

    - a folder: all images in it with a known extension, sorted by path; hidden files and folders are skipped;
    - a text file (``ann_file``): one path a line, blank lines and lines that start with ``#`` skipped;
    - a COCO file (``ann_file`` ending in ``.json``): ``images[].file_name`` in the file's order. Annotations are not
      used, so a detection data set serves as it is;
    - tar files (``shards``), as ``mmsscl shards write`` or webdataset makes them, sorted by name, the photos in the order
      in which they lie there. The same photos in the same order give the same batches from any kind of source.

    Paths in a list or COCO file are relative to ``data_root/data_prefix`` (or absolute). All files of list and COCO
    sources are checked to exist when there are at most 20000 of them, else 20000 evenly spaced ones; every file is
    checked again when read.

    Args:
        data_root: Folder with the photos, or the parent of ``data_prefix`` and ``ann_file``.
        data_prefix: Subfolder with the photos; also ``dict(img="train2017/")`` as in mmdet.
        ann_file: List or COCO file, relative to ``data_root`` or absolute; empty: walk the folder.
        sources: Several sources in place of one: dicts with ``data_root``, ``data_prefix``, and ``ann_file`` or
            ``shards``, joined in this order.
        pipeline: Transforms, applied in order to ``dict(img_path, sample_idx, epoch, streams)``.
        seed: Of the samples' randomness.
        extensions: Extensions that count as images in a folder, in any case.
        recursive: Whether to walk subfolders.
        indices: Keep only the first ``indices`` images, or those at these positions.
        check_files: Whether to check that listed files exist; switch off for storage other than local disks.
        metainfo: Free facts about the data.
        shards: Tar files, a pattern such as ``"*.tar"`` or several, relative to ``data_root/data_prefix``.
        keep_decoded: GB of memory in which decoded photos are kept for later epochs, shared by the workers of this process;
            those that find no room are decoded each time. 3 bytes a pixel: 0.92 GB for 1000 photos of 640 x 480. Photos of
            2 megapixels and more are not kept. The samples are the same whatever is kept. 0: nothing is.

    Attributes:
        decoded_photos: What ``keep_decoded`` keeps; None without.
        substitutes_bad: Whether another photo takes the place of one that cannot be read; ``BadPhotosHook``, which counts
            them, switches it on. Which one is a function of (seed, epoch, index); the sample's randomness stays that of
            the index asked for, ``sample_idx`` is the photo's own, and the key ``bad_index`` tells what it stands for
            (-1: itself).

    Raises:
        InputError: A folder or file is missing or empty, or a file is not what its name says.

    Example:
        >>> photos = SceneImages(data_root="data/coco", data_prefix="train2017")
        >>> photos[3, 17]["img_path"]            # epoch 3, image 17; photos[17] is epoch 0
        'data/coco/train2017/000000000161.jpg'
    """

    def __init__(
        self,
        data_root: str = "",
        data_prefix: str | dict = "",
        ann_file: str = "",
        sources: Sequence[dict] | None = None,
        pipeline: Sequence[dict | Callable[[dict], dict]] = (),
        seed: int = 0,
        extensions: Sequence[str] = EXTENSIONS,
        recursive: bool = True,
        indices: int | Sequence[int] | None = None,
        check_files: bool = True,
        metainfo: dict | None = None,
        shards: str | Sequence[str] = (),
        keep_decoded: float = 0,
    ) -> None:
        if sources is None:
            sources = [{"data_root": data_root, "data_prefix": data_prefix, "ann_file": ann_file, "shards": shards}]
        elif data_root or data_prefix or ann_file or shards:
            raise InputError("SceneImages: give data_root, data_prefix, ann_file and shards, or sources, not both.")
        if not sources:
            raise InputError("SceneImages: sources is empty. List at least one dict(data_root=...).")
        self.seed = seed
        self.substitutes_bad = False
        self._metainfo = dict(metainfo or {})
        self.pipeline = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline]

        suffixes = tuple(extension.lower() for extension in extensions)
        self._sources = [_list_source(source, suffixes, recursive, check_files) for source in sources]
        self._starts = [0, *accumulate(len(photos) for photos in self._sources)]
        self._kept = range(self._starts[-1]) if indices is None else _kept(indices, self._starts[-1])
        self.decoded_photos = None if keep_decoded == 0 else DecodedPhotos(len(self), keep_decoded)

    @property
    def metainfo(self) -> dict:
        """A copy of the facts given as ``metainfo``."""
        return dict(self._metainfo)

    def full_init(self) -> None:
        """Does nothing: the data set is complete once built (mmengine's runner calls this)."""

    def __len__(self) -> int:
        """Number of images."""
        return len(self._kept)

    def path(self, index: int) -> str:
        """Path of an image, or its address in a tar file (:class:`~mmsscl.datasets.shards.TarAddress`).

        Args:
            index: 0 to ``len(self) - 1``.
        """
        photos, number = self._place(index)
        return photos[number]

    def name(self, index: int) -> str:
        """What an image is called wherever its tar file lies: its path there; of others their path.

        Args:
            index: 0 to ``len(self) - 1``.
        """
        photos, number = self._place(index)
        return photos.name(number)

    def _place(self, index: int) -> tuple[PhotoFiles | PhotoShards, int]:
        """The source of an image, and its number there."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside 0..{len(self) - 1}")
        position = int(self._kept[index])
        source = bisect_right(self._starts, position) - 1
        return self._sources[source], position - self._starts[source]

    def __getitem__(self, item: int | tuple[int, int]) -> dict:
        """Runs the pipeline on one image.

        Args:
            item: ``(epoch, index)``, as :class:`~mmsscl.datasets.EpochIndexSampler` yields, or an index (epoch 0).

        Returns:
            What the last transform returns.

        Raises:
            UnreadableImageError: The photo cannot be read, nor can, with ``substitutes_bad``, 10 others.
        """
        epoch, index = (int(part) for part in item) if isinstance(item, (tuple, list)) else (0, int(item))
        if not self.substitutes_bad:
            return self._sample(epoch, index, index, {})
        try:
            return self._sample(epoch, index, index, {"bad_index": -1})
        except UnreadableImageError as error:
            first = error
        others = RandomStreams(self.seed, epoch, index).stream("substitute").integers(len(self), size=_MOST_SUBSTITUTES)
        for other in others.tolist():
            with suppress(UnreadableImageError):
                return self._sample(epoch, index, other, {"bad_index": index})
        raise UnreadableImageError(
            f"{first} {_MOST_SUBSTITUTES} photos that were to take its place cannot be read either: check that the disk is "
            "mounted, and the data set with mmsscl doctor data."
        )

    def _sample(self, epoch: int, index: int, photo: int, more: dict) -> dict:
        """The pipeline's result for a photo, with the randomness of ``index``."""
        results = {
            "img_path": self.path(photo),
            "sample_idx": photo,
            "epoch": epoch,
            "streams": RandomStreams(self.seed, epoch, index),
            **({} if self.decoded_photos is None else {"decoded_photos": self.decoded_photos}),
            **more,
        }
        for transform in self.pipeline:
            results = transform(results)
            if results is None:
                raise TypeError(f"{transform!r} returned None for {self.path(photo)}; a transform must return a dict")
        return results


def _list_source(source: dict, suffixes: tuple[str, ...], recursive: bool, check_files: bool) -> PhotoFiles | PhotoShards:
    unknown = set(source) - _SOURCE_KEYS
    if unknown:
        raise InputError(f"SceneImages: a source has unknown keys {sorted(unknown)}. Known: {sorted(_SOURCE_KEYS)}.")
    data_root = os.path.expanduser(source.get("data_root", ""))
    prefix = source.get("data_prefix", "")
    if isinstance(prefix, dict):
        prefix = prefix.get("img", prefix.get("img_path", ""))
    folder = os.path.join(data_root, prefix) if prefix else data_root
    ann_file, shards = source.get("ann_file", ""), source.get("shards", ())
    if ann_file and shards:
        raise InputError("SceneImages: give ann_file or shards for a source, not both: shards are used whole.")
    if shards:
        patterns = [shards] if isinstance(shards, str | os.PathLike) else list(shards)
        return PhotoShards(folder, [os.fspath(pattern) for pattern in patterns], suffixes)
    if ann_file:
        ann_file = os.path.join(data_root, os.path.expanduser(ann_file))
        return PhotoFiles.from_file(ann_file, folder, check_files)
    return PhotoFiles.from_folder(folder, suffixes, recursive)


def _kept(indices: int | Sequence[int], size: int) -> range | np.ndarray:
    """Positions of the images to keep."""
    if isinstance(indices, int | np.integer) and not isinstance(indices, bool):
        if indices < 1:
            raise InputError(f"SceneImages: indices is {indices}. Give the number of images to keep, 1 or more.")
        return range(min(int(indices), size))
    try:
        positions = np.asarray(indices)
    except ValueError:  # lists of different lengths
        positions = np.zeros(())
    if positions.ndim != 1 or (len(positions) and positions.dtype.kind not in "iu"):
        raise InputError(f"SceneImages: indices={indices!r:.100}: give a number of images, or a list of whole numbers.")
    outside = positions[(positions < 0) | (positions >= size)]
    if len(outside) or not len(positions):
        raise InputError(
            f"SceneImages: indices {outside[:5].tolist()} are outside 0..{size - 1}."
            if len(outside)
            else "SceneImages: indices is empty. Leave it out to keep all images."
        )
    return positions.astype(np.int64)
