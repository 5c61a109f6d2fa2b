"""Unlabelled photos from folders, text lists or COCO files."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import numpy as np
from torch.utils.data import Dataset

from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.errors import InputError, UnreadableImageError
from mmsscl.registry import DATASETS, TRANSFORMS

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")
_MOST_CHECKED_FILES = 20_000
_MOST_SUBSTITUTES = 10
_SOURCE_KEYS = frozenset({"data_root", "data_prefix", "ann_file"})


@DATASETS.register_module()
class SceneImages(Dataset):
    """Photos without labels, from one or several sources; each sample's randomness depends on (seed, epoch, index).

    A source is one of three:

    - a folder: all images in it with a known extension, sorted by path; hidden files and folders are skipped;
    - a text file (``ann_file``): one path a line, blank lines and lines that start with ``#`` skipped;
    - a COCO file (``ann_file`` ending in ``.json``): ``images[].file_name`` in the file's order. Annotations are not
      used, so a detection data set serves as it is.

    Paths in a list or COCO file are relative to ``data_root/data_prefix`` (or absolute). All files of list and COCO
    sources are checked to exist when there are at most 20000 of them, else 20000 evenly spaced ones; every file is
    checked again when read.

    Args:
        data_root: Folder with the photos, or the parent of ``data_prefix`` and ``ann_file``.
        data_prefix: Subfolder with the photos; also ``dict(img="train2017/")`` as in mmdet.
        ann_file: List or COCO file, relative to ``data_root`` or absolute; empty: walk the folder.
        sources: Several sources in place of one: dicts with ``data_root``, ``data_prefix`` and ``ann_file``, joined
            in this order.
        pipeline: Transforms, applied in order to ``dict(img_path, sample_idx, epoch, streams)``.
        seed: Of the samples' randomness.
        extensions: Extensions that count as images in a folder, in any case.
        recursive: Whether to walk subfolders.
        indices: Keep only the first ``indices`` images, or those at these positions.
        check_files: Whether to check that listed files exist; switch off for storage other than local disks.
        metainfo: Free facts about the data.

    Attributes:
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
    ) -> None:
        if sources is None:
            sources = [{"data_root": data_root, "data_prefix": data_prefix, "ann_file": ann_file}]
        elif data_root or data_prefix or ann_file:
            raise InputError("SceneImages: give data_root, data_prefix and ann_file, or sources, not both.")
        if not sources:
            raise InputError("SceneImages: sources is empty. List at least one dict(data_root=...).")
        self.seed = seed
        self.substitutes_bad = False
        self._metainfo = dict(metainfo or {})
        self.pipeline = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline]

        suffixes = tuple(extension.lower() for extension in extensions)
        paths: list[bytes] = []
        for source in sources:
            paths.extend(os.fsencode(path) for path in _list_source(source, suffixes, recursive, check_files))
        if indices is not None:
            paths = _take(paths, indices)
        # One buffer in place of a list of strings: forked workers share it, since no reference count inside is touched.
        self._ends = np.cumsum([len(path) for path in paths], dtype=np.int64)
        self._buffer = np.frombuffer(b"".join(paths), dtype=np.uint8)

    @property
    def metainfo(self) -> dict:
        """A copy of the facts given as ``metainfo``."""
        return dict(self._metainfo)

    def full_init(self) -> None:
        """Does nothing: the data set is complete once built (mmengine's runner calls this)."""

    def __len__(self) -> int:
        """Number of images."""
        return len(self._ends)

    def path(self, index: int) -> str:
        """Path of an image.

        Args:
            index: 0 to ``len(self) - 1``.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside 0..{len(self) - 1}")
        start = self._ends[index - 1] if index else 0
        return os.fsdecode(self._buffer[start : self._ends[index]].tobytes())

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
            **more,
        }
        for transform in self.pipeline:
            results = transform(results)
            if results is None:
                raise TypeError(f"{transform!r} returned None for {self.path(photo)}; a transform must return a dict")
        return results


def _list_source(source: dict, suffixes: tuple[str, ...], recursive: bool, check_files: bool) -> list[str]:
    unknown = set(source) - _SOURCE_KEYS
    if unknown:
        raise InputError(f"SceneImages: a source has unknown keys {sorted(unknown)}. Known: {sorted(_SOURCE_KEYS)}.")
    data_root = os.path.expanduser(source.get("data_root", ""))
    prefix = source.get("data_prefix", "")
    if isinstance(prefix, dict):
        prefix = prefix.get("img", prefix.get("img_path", ""))
    folder = os.path.join(data_root, prefix) if prefix else data_root
    ann_file = source.get("ann_file", "")
    if not ann_file:
        return _list_folder(folder, suffixes, recursive)
    ann_file = os.path.join(data_root, os.path.expanduser(ann_file))
    try:
        with open(ann_file, encoding="utf-8-sig") as file:
            names = _read_coco(file.read(), ann_file) if ann_file.endswith(".json") else _read_list(file, ann_file)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"{ann_file}: no such file. Check ann_file (relative to data_root {data_root!r}).") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{ann_file}: not a text file in UTF-8 ({error}). Check ann_file.") from error
    paths = [os.path.join(folder, name) for name in names]
    if check_files:
        _check_present(paths, ann_file, folder)
    return paths


def _list_folder(folder: str, suffixes: tuple[str, ...], recursive: bool) -> list[str]:
    if not folder:
        raise InputError("SceneImages: data_root is empty. Point it at the folder that holds your photos.")
    if not os.path.isdir(folder):
        raise InputError(f"{folder}: no such folder. Point data_root (and data_prefix) at the folder with your photos.")
    paths = sorted(_walk(folder, suffixes, recursive))
    if not paths:
        depth = "at any depth" if recursive else "not looking into subfolders"
        raise InputError(
            f"{folder}: no images in this folder (looked for {', '.join(suffixes)}, {depth}). Point data_root at the "
            "folder that holds your photos, or convert them."
        )
    return paths


def _walk(folder: str, suffixes: tuple[str, ...], recursive: bool) -> Iterator[str]:
    """Yields image paths; follows links to folders, each real folder once on the way down (a link may form a loop)."""
    pending = [(folder, frozenset({os.path.realpath(folder)}))]
    while pending:
        current, above = pending.pop()
        with os.scandir(current) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.name.lower().endswith(suffixes) and entry.is_file():
                    yield entry.path
                elif recursive and entry.is_dir():
                    real = os.path.realpath(entry.path)
                    if real not in above:
                        pending.append((entry.path, above | {real}))


def _read_list(lines: Iterator[str], ann_file: str) -> list[str]:
    stripped = (line.strip() for line in lines)
    names = [line for line in stripped if line and not line.startswith("#")]
    if not names:
        raise InputError(f"{ann_file}: the list names no image. Write one path a line, relative to the photo folder.")
    return names


def _read_coco(text: str, ann_file: str) -> list[str]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{ann_file}: not valid JSON ({error}). Fetch it again, or give a .txt list.") from error
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not images:
        raise InputError(f"{ann_file}: no 'images' in this file. A COCO file lists them as images[].file_name.")
    names = []
    for position, image in enumerate(images):
        name = image.get("file_name") if isinstance(image, dict) else None
        if not isinstance(name, str) or not name:
            raise InputError(f"{ann_file}: images[{position}] has no 'file_name'. Each image needs one.")
        names.append(name)
    return names


def _check_present(paths: list[str], ann_file: str, folder: str) -> None:
    checked = paths[:: -(-len(paths) // _MOST_CHECKED_FILES)]
    absent = [path for path in checked if not os.path.isfile(path)]
    if absent:
        raise InputError(
            f"{ann_file}: {len(absent)} of {len(checked)} listed images checked are absent, first {absent[0]}. Paths "
            f"are taken relative to {folder!r} (data_root and data_prefix): correct these, or the list."
        )


def _take(paths: list[bytes], indices: int | Sequence[int]) -> list[bytes]:
    if isinstance(indices, int):
        if indices < 1:
            raise InputError(f"SceneImages: indices is {indices}. Give the number of images to keep, 1 or more.")
        return paths[:indices]
    outside = [index for index in indices if not 0 <= index < len(paths)]
    if outside or not len(indices):
        raise InputError(
            f"SceneImages: indices {outside[:5]} are outside 0..{len(paths) - 1}."
            if outside
            else "SceneImages: indices is empty. Leave it out to keep all images."
        )
    return [paths[index] for index in indices]
