"""Photos with object masks (a folder of each) or object boxes (a COCO json), to score saliency maps on."""
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmsscl.datasets.scene_images import SceneImages
from mmsscl.datasets.transforms.loading import read_photo
from mmsscl.errors import InputError

MASK_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp")
_JPEG = (".jpg", ".jpeg")
_DARK, _BRIGHT = 32, 224
_MOST_BETWEEN = 0.05


@dataclass(frozen=True)
class MaskedPhotos:
    """Photos and the files of their masks, in the same order."""

    paths: list[str]
    masks: list[Path]

    def mask(self, index: int) -> np.ndarray:
        """The mask of a photo: bool (H, W), True where the file is above 127.

        Raises:
            InputError: the file is no image, of another size than the photo, or not black and white.
        """
        path = self.masks[index]
        content = path.read_bytes()
        colors = cv2.imdecode(np.frombuffer(content or b"0", np.uint8), cv2.IMREAD_COLOR)
        if colors is None:
            raise InputError(f"{path}: not a readable mask image. Give one gray image a photo: 255 on objects, else 0.")
        problem = _not_black_and_white(colors, content)
        if problem:
            raise InputError(
                f"{path}: {problem}; a mask is white (255) on objects and black (0) elsewhere. Masks of classes or of "
                "instances, as VOC's, have to be turned into such first."
            )
        pixels = cv2.cvtColor(colors, cv2.COLOR_BGR2GRAY)
        photo = read_photo(self.paths[index])
        if pixels.shape != (photo.height, photo.width):
            raise InputError(
                f"{path}: the mask is {pixels.shape[1]} x {pixels.shape[0]} pixels, its photo {photo.path} "
                f"{photo.width} x {photo.height} (upright). Give the mask that belongs to this photo."
            )
        if 0 < pixels.max() <= 127:
            raise InputError(
                f"{path}: its largest value is {pixels.max()}; a mask is 255 on objects and 0 elsewhere. "
                "Multiply masks of 0 and 1 by 255."
            )
        return pixels > 127


@dataclass(frozen=True)
class BoxedPhotos:
    """Photos and the boxes of their objects, in the same order.

    Attributes:
        paths: of the photos.
        boxes: (K, 4) each, xyxy in pixels, clipped to the image, none empty; crowds left out.
        sizes: (height, width) each.
    """

    paths: list[str]
    boxes: list[np.ndarray]
    sizes: list[tuple[int, int]]


def masked_photos(images: str | Path, masks: str | Path, most: int | None = None) -> MaskedPhotos:
    """Photos of a folder and their masks: the file of the same name (without its ending), in the same subfolder.

    Photos and masks may lie in one folder (1.jpg with 1.png, as ECSSD is often packed), or one folder below the other:
    an image that is the mask of another is no photo.

    Args:
        images: folder of photos.
        masks: folder of masks: gray images of the photo's size, 255 on objects, 0 elsewhere.
        most: keep this many photos, evenly spread over the folder.

    Raises:
        InputError: a folder is missing or empty, or a photo has no mask, or several.
    """
    root = Path(masks).expanduser()
    if not root.is_dir():
        raise InputError(f"--masks {masks}: no such folder. Name the folder that holds a mask for every photo.")
    listed = SceneImages(data_root=str(images))
    base = Path(images).expanduser()
    photos = [Path(listed.path(index)) for index in range(len(listed))]
    by_name: dict[str, list[Path]] = {}
    for photo in photos:
        by_name.setdefault(_name_below(photo, base), []).append(photo)
    # by real folders: the two may be one under two names
    known: dict[str, list[Path]] = {}
    are_masks: set[Path] = set()
    for file in sorted(root.rglob("*")):
        if file.suffix.lower() in MASK_ENDINGS:
            name = _name_below(file, root)
            known.setdefault(name, []).append(file)
            if any(_may_be_mask_of(file, photo) for photo in by_name.get(name, [])):
                are_masks.add(_real(file))
    paths = spread([photo for photo in photos if _real(photo) not in are_masks], most)
    found = [[file for file in known.get(_name_below(path, base), []) if _may_be_mask_of(file, path)] for path in paths]
    absent = [path for path, masks_of in zip(paths, found, strict=True) if not masks_of]
    if absent:
        raise InputError(
            f"--masks {masks}: {len(absent)} of {len(paths)} photos have no mask, first {absent[0]}. A mask has its "
            f"photo's name and one of the endings {', '.join(MASK_ENDINGS)}; take photos without a mask out of --images."
        )
    for path, masks_of in zip(paths, found, strict=True):
        if len(masks_of) > 1:
            names = " and ".join(str(file) for file in masks_of)
            raise InputError(f"--masks {masks}: {names} are both named as the photo {path}. Keep the one that is its mask.")
    return MaskedPhotos([str(path) for path in paths], [masks_of[0] for masks_of in found])


def _name_below(file: Path, folder: Path) -> str:
    return file.relative_to(folder).with_suffix("").as_posix()


def _real(file: Path) -> Path:
    """The file below the real path of its folder; the file itself may be a link to a store of photos."""
    return file.parent.resolve() / file.name


def _may_be_mask_of(file: Path, photo: Path) -> bool:
    """Whether a file of a photo's name is its mask. Within one folder a JPEG is the photo, as masks lose by it."""
    if _real(file).parent != _real(photo).parent:
        return True
    return file.name != photo.name and file.suffix.lower() not in _JPEG


def _not_black_and_white(colors: np.ndarray, content: bytes) -> str:
    """What is wrong with a mask's pixels (H, W, 3); empty: nothing."""
    between = ((colors >= _DARK) & (colors <= _BRIGHT)).any(2)
    # a label image of PNG keeps numbers of classes and a table of colors for them
    if content[:4] == b"\x89PNG" and content[25:26] == b"\x03" and (between.any() or np.ptp(colors, axis=2).max() > _DARK):
        return "a palette image, whose colors stand for classes"
    if np.ptp(colors, axis=2).max() > 2 * _DARK:
        return "it is colored"
    if between.mean() > _MOST_BETWEEN and colors.max() > 127:
        return f"{between.mean():.0%} of its pixels are gray (between {_DARK} and {_BRIGHT})"
    return ""


def boxed_photos(images: str | Path, annotations: str | Path, most: int | None = None) -> BoxedPhotos:
    """Photos and boxes of a COCO json; classes are ignored.

    Args:
        images: folder that ``file_name`` in the json is relative to.
        annotations: the json.
        most: keep this many images, evenly spread over the json.

    Raises:
        InputError: the json is missing or not COCO's, a photo is missing, or of another size than the json says.
    """
    file = Path(annotations).expanduser()
    # finds and checks the photos too
    photos = SceneImages(data_root=str(images), ann_file=str(file.absolute()))
    content = json.loads(file.read_text(encoding="utf-8-sig"))
    by_image = _boxes_by_image(content, file)
    wanted = spread(list(range(len(photos))), most)
    paths, boxes, sizes = [], [], []
    for index in wanted:
        record, photo = content["images"][index], read_photo(photos.path(index))
        size = (photo.height, photo.width)
        stated = (record.get("height", size[0]), record.get("width", size[1]))
        if stated != size:
            raise InputError(
                f"{file}: says that {photo.path} is {stated[1]} x {stated[0]} pixels; upright it is {size[1]} x {size[0]}, "
                "so its boxes would lie elsewhere. Give the photos that the json was made for."
            )
        corners: np.ndarray = np.array(by_image.get(record.get("id"), []), np.float64).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        corners = np.clip(corners, 0, [size[1], size[0]] * 2)
        paths.append(photo.path)
        boxes.append(corners[(corners[:, 2:] > corners[:, :2]).all(1)])
        sizes.append(size)
    return BoxedPhotos(paths, boxes, sizes)


def _boxes_by_image(content: dict[str, Any], file: Path) -> dict[Any, list[list[float]]]:
    annotations = content.get("annotations")
    if not isinstance(annotations, list):
        raise InputError(f"{file}: has no 'annotations', so no boxes to score maps with. Give a COCO file with objects.")
    found: dict[Any, list[list[float]]] = {}
    for position, annotation in enumerate(annotations):
        box = annotation.get("bbox") if isinstance(annotation, dict) else None
        if not isinstance(box, list) or len(box) != 4 or "image_id" not in annotation:
            raise InputError(f"{file}: annotations[{position}] has no image_id or no bbox [x, y, width, height].")
        if not annotation.get("iscrowd"):
            found.setdefault(annotation["image_id"], []).append(box)
    return found


def spread(items: list, most: int | None) -> list:
    """At most so many items, evenly spread over a list; all of them for None."""
    if most is None or most >= len(items):
        return items
    return [items[index] for index in np.linspace(0, len(items) - 1, most).round().astype(int)]
