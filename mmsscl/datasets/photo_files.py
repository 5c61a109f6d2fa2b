"""Photos that lie in a folder, or that a text list or a COCO file names."""
import json
import os
from collections.abc import Iterable, Iterator
from typing import TextIO

from mmsscl.datasets.packed_strings import PackedStrings
from mmsscl.errors import InputError

_MOST_CHECKED_FILES = 20_000
_BLOCK = 1 << 24


class PhotoFiles:
    """Paths of photos in one folder, which is kept once.

    Args:
        folder: What relative names are relative to.
        names: Relative or absolute paths, or addresses (``s3://...``).
        source: Where the names are from, for errors; None: the folder.
    """

    def __init__(self, folder: str, names: Iterable[str], source: str | None = None) -> None:
        self.folder = folder
        self.names = PackedStrings(names, source or folder)

    @classmethod
    def from_folder(cls, folder: str, suffixes: tuple[str, ...], recursive: bool = True) -> "PhotoFiles":
        """The photos found in a folder, sorted by path; hidden files and folders are skipped.

        Args:
            folder: Where to look.
            suffixes: How names of photos end, in lower case.
            recursive: Whether to look into subfolders too.

        Raises:
            InputError: There is no such folder, or no photo in it.
        """
        if not folder:
            raise InputError("SceneImages: data_root is empty. Point it at the folder that holds your photos.")
        if not os.path.isdir(folder):
            raise InputError(
                f"{folder}: no such folder. Point data_root (and data_prefix) at the folder with your photos."
            )
        start = len(os.path.join(folder, ""))
        names = sorted(path[start:] for path in find_photos(folder, suffixes, recursive))
        if not names:
            depth = "at any depth" if recursive else "not looking into subfolders"
            shards = sum(name.endswith(".tar") for name in os.listdir(folder))
            hint = f"It holds {shards} .tar file(s): if the photos are in these, set shards='*.tar'. " if shards else ""
            raise InputError(
                f"{folder}: no images in this folder (looked for {', '.join(suffixes)}, {depth}). {hint}Point data_root "
                "at the folder that holds your photos, or convert them."
            )
        return cls(folder, names)

    @classmethod
    def from_file(cls, ann_file: str, folder: str, check: bool = True) -> "PhotoFiles":
        """The photos that a file names, in its order.

        Args:
            ann_file: A COCO file, if its name ends in ``.json``; else a text file with one path a line, where blank lines
                and lines that start with ``#`` are skipped.
            folder: What its paths are relative to.
            check: Whether to check that the photos exist: all of up to 20000, of more that many in even steps.

        Raises:
            InputError: There is no such file, it is not what its name says, or photos are absent.
        """
        try:
            if ann_file.endswith(".json"):
                with open(ann_file, encoding="utf-8-sig") as file:
                    photos = cls(folder, _read_coco(file.read(), ann_file), ann_file)
            else:
                # names of files need not be text
                with open(ann_file, encoding="utf-8-sig", errors="surrogateescape") as file:
                    photos = cls(folder, _read_list(file, ann_file), ann_file)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise InputError(f"{ann_file}: no such file. Check ann_file (relative to data_root).") from error
        except OSError as error:
            raise InputError(f"{ann_file}: cannot be read ({error.strerror}). Check its permissions.") from error
        except UnicodeError as error:
            raise InputError(f"{ann_file}: not a text file in UTF-8 ({error}). Check ann_file.") from error
        if not len(photos):
            raise InputError(f"{ann_file}: the list names no image. Write one path a line, relative to the photo folder.")
        if check:
            photos._check_present(ann_file)
        return photos

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> str:
        """The path of a photo."""
        name = self.names[index]
        return name if "://" in name else os.path.join(self.folder, name)

    def name(self, index: int) -> str:
        """The path of a photo, which is what it is called by."""
        return self[index]

    def _check_present(self, ann_file: str) -> None:
        even = range(0, len(self), -(-len(self) // _MOST_CHECKED_FILES))
        checked = [path for path in map(self.__getitem__, even) if "://" not in path]
        absent = [path for path in checked if not os.path.isfile(path)]
        if absent:
            odd = any("\udc80" <= letter <= "\udcff" for letter in absent[0])
            hint = " The list is not a text file in UTF-8: save it as such, if it was meant as one." if odd else ""
            raise InputError(
                f"{ann_file}: {len(absent)} of {len(checked)} listed images checked are absent, first {absent[0]}. Paths "
                f"are taken relative to {self.folder!r} (data_root and data_prefix): correct these, or the list.{hint}"
            )


def find_photos(folder: str, suffixes: tuple[str, ...], recursive: bool = True) -> Iterator[str]:
    """Paths of the photos in a folder, in no order.

    Hidden files and folders are skipped. Links to folders are followed, each real folder once on the way down: a link may
    form a loop.
    """
    pending = [(folder, frozenset({os.path.realpath(folder)}))]
    while pending:
        current, above = pending.pop()
        try:
            entries = list(os.scandir(current))
        except OSError as error:
            raise InputError(
                f"{current}: the folder cannot be read ({error.strerror}). Check its permissions, or give a list of photos."
            ) from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.name.lower().endswith(suffixes) and entry.is_file():
                yield entry.path
            elif recursive and entry.is_dir():
                real = os.path.realpath(entry.path)
                if real not in above:
                    pending.append((entry.path, above | {real}))


def _read_list(file: TextIO, ann_file: str) -> Iterator[str]:
    # in blocks: a file's lines one by one take twice as long
    while lines := file.readlines(_BLOCK):
        if any("\0" in line for line in lines):
            raise InputError(f"{ann_file}: not a text file in UTF-8 (it holds the character NUL). Check ann_file.")
        yield from (name for line in lines if (name := line.strip()) and name[0] != "#")


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
