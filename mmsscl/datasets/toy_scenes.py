"""The embedded scene set on disk: JPEGs and COCO json, read through the same code path as COCO.

Layout of a folder, as ``write_toy_scenes`` leaves it::

    train/000000.jpg ...       annotations/train.json
    val/000000.jpg ...         annotations/val.json
    unlabeled/000000.jpg ...   annotations/unlabeled.json   (images only, no annotations)
    manifest.json              the settings, written last: without it the folder counts as unfinished
"""
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmsscl.datasets.toy_difficulty import get_difficulty
from mmsscl.datasets.toy_renderer import RENDERER_VERSION, SPLITS, render_scene
from mmsscl.errors import InputError

JPEG_QUALITY = 90
MANIFEST = "manifest.json"
UNFINISHED = "manifest.unfinished.json"


@dataclass(frozen=True)
class ToySceneFolder:
    """A complete folder of scenes.

    Attributes:
        root: the folder.
        classes: names of the classes, in the order of their category ids (1, 2, ...).
        counts: number of images of each split.
        rendered: False if a complete folder of the same settings was found and reused.
    """

    root: Path
    classes: tuple[str, ...]
    counts: dict[str, int]
    rendered: bool

    def images(self, split: str) -> Path:
        """Folder with the split's JPEGs."""
        return self.root / split

    def annotations(self, split: str) -> Path:
        """COCO json of the split."""
        return self.root / "annotations" / f"{split}.json"


def write_toy_scenes(
    root: str | os.PathLike,
    train: int = 0,
    val: int = 0,
    unlabeled: int = 0,
    size: int | None = 128,
    difficulty: str = "easy",
    seed: int = 0,
) -> ToySceneFolder:
    """Render the embedded scene set into a folder, or reuse the folder if it holds exactly these scenes.

    Args:
        root: the folder; made where missing. It must be empty or have been written by this function.
        train: number of annotated training images.
        val: number of annotated validation images.
        unlabeled: number of images without annotations.
        size: side of the square images in pixels; None takes the difficulty's own (128, hard 160).
        difficulty: "easy", "medium" or "hard", see :func:`mmsscl.datasets.toy_renderer.render_scene`.
        seed: decides every scene; splits never share one.

    Returns:
        Where everything lies.

    Raises:
        InputError: a bad setting, or ``root`` holds files that are not a scene set.

    Example:
        >>> folder = write_toy_scenes("data/toy", train=600, val=200, unlabeled=2400)
        >>> folder.annotations("train")
        PosixPath('data/toy/annotations/train.json')
    """
    law = get_difficulty(difficulty)
    size = law.default_size if size is None else size
    counts = dict(zip(SPLITS, (train, val, unlabeled)))
    if min(counts.values()) < 0 or sum(counts.values()) == 0:
        raise InputError(f"{counts} asks for no images. Give a number above 0 for train, val or unlabeled.")
    if not 32 <= size <= 2048:
        raise InputError(f"size={size} is out of range. Choose an image side between 32 and 2048 pixels.")
    if seed < 0:
        raise InputError(f"seed={seed} is negative. Choose a seed of 0 or more.")

    settings = {
        "renderer": RENDERER_VERSION, "jpeg_quality": JPEG_QUALITY, "size": size, "difficulty": difficulty,
        "seed": seed, "counts": counts,
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    root = Path(root)
    if _is_complete(root, digest, counts):
        return ToySceneFolder(root, law.classes, counts, rendered=False)

    _claim(root)
    for split, count in counts.items():
        _write_split(root, split, count, size, difficulty, seed, law.classes)
    (root / UNFINISHED).write_text(json.dumps({"digest": digest, "settings": settings}, indent=2) + "\n")
    os.replace(root / UNFINISHED, root / MANIFEST)
    return ToySceneFolder(root, law.classes, counts, rendered=True)


def mask_to_polygons(mask: np.ndarray) -> list[list[float]]:
    """COCO polygons [x1, y1, x2, y2, ...] along the pixel edges of a mask: their area is the mask's pixel count.

    Polygons know no holes, so a mask with a hole is cut in two through the hole.

    Args:
        mask: bool (H, W).

    Returns:
        One polygon per connected piece, in pixels (pixel ``i`` covers ``[i, i + 1]``); floats, because mmdet scales
        them in place.
    """
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    if width == 0:
        return []
    piece = mask[y : y + height, x : x + width].astype(np.uint8)
    doubled = cv2.resize(piece, (2 * width, 2 * height), interpolation=cv2.INTER_NEAREST)
    # even offsets keep the halves that _along_edges tells apart
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(2 * x, 2 * y))
    holes = [contour for contour, link in zip(contours, hierarchy[0]) if link[3] >= 0]
    if holes:
        column = max(1, int(holes[0][:, 0, 0].mean() / 2 + 0.5))
        left, right = mask.copy(), mask.copy()
        left[:, column:] = False
        right[:, :column] = False
        return mask_to_polygons(left) + mask_to_polygons(right)
    return [_along_edges(contour[:, 0]).ravel().tolist() for contour in contours]


def _along_edges(points: np.ndarray) -> np.ndarray:
    """Corners (n, 2) of a traced contour of the doubled mask.

    In a doubled mask a border pixel is the half of an original pixel that touches the border: an even coordinate
    is the left or upper half, whose border is at c / 2, an odd one the other half, whose border is at (c + 1) / 2.
    """
    corners = ((points + 1) // 2).astype(np.float64)
    corners = corners[np.any(corners != np.roll(corners, 1, axis=0), axis=1)]
    before, after = corners - np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0) - corners
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return corners[turns]


def _is_complete(root: Path, digest: str, counts: dict[str, int]) -> bool:
    try:
        manifest = json.loads((root / MANIFEST).read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return False
    if not isinstance(manifest, dict) or manifest.get("digest") != digest:
        return False
    for split, count in counts.items():
        if not (root / "annotations" / f"{split}.json").is_file() or not (root / split).is_dir():
            return False
        if not {_file_name(index) for index in range(count)} <= set(os.listdir(root / split)):
            return False
    return True


def _claim(root: Path) -> None:
    """Mark the folder as being written and remove what an earlier rendering left, touching nobody else's files."""
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is a file, but the scenes need a folder. Choose another path.")
    root.mkdir(parents=True, exist_ok=True)
    if any(root.iterdir()) and not (root / MANIFEST).exists() and not (root / UNFINISHED).exists():
        raise InputError(f"{root} holds files that are not a scene set. Choose an empty or new folder.")
    (root / UNFINISHED).write_text("{}\n")
    (root / MANIFEST).unlink(missing_ok=True)
    for split in SPLITS:
        (root / split).mkdir(exist_ok=True)
        for path in (root / split).glob("[0-9][0-9][0-9][0-9][0-9][0-9].jpg"):
            path.unlink()


def _file_name(index: int) -> str:
    return f"{index:06d}.jpg"


def _write_split(
    root: Path, split: str, count: int, size: int, difficulty: str, seed: int, classes: tuple[str, ...]
) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        scene = render_scene(index, split, size, difficulty, seed)
        _, encoded = cv2.imencode(".jpg", scene.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        (root / split / _file_name(index)).write_bytes(encoded.tobytes())
        images.append({"id": index + 1, "file_name": _file_name(index), "width": size, "height": size})
        if split == "unlabeled":
            continue
        for label, box, mask in zip(scene.labels, scene.boxes, scene.masks):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": int(label) + 1,
                    "bbox": box.tolist(),
                    "area": float(mask.sum()),
                    "segmentation": mask_to_polygons(mask),
                    "iscrowd": 0,
                }
            )
    document = {
        "info": {"description": f"mmsscl toy scenes, {difficulty}, {split}, seed {seed}"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": number, "name": name, "supercategory": "shape"} for number, name in enumerate(classes, start=1)
        ],
    }
    folder = root / "annotations"
    folder.mkdir(exist_ok=True)
    (folder / f"{split}.json").write_text(json.dumps(document))
