"""What a scene of the embedded set may contain, by difficulty."""
from dataclasses import dataclass

from mmsscl.errors import InputError

SHAPE_TEXTURES = {
    "disc": "rings",
    "square": "checks",
    "triangle": "stripes",
    "star": "dots",
    "cross": "lattice",
    "bowl": "waves",
}


@dataclass(frozen=True)
class Difficulty:
    """What a scene may contain.

    Attributes:
        classes: the classes' names, each a shape of :data:`SHAPE_TEXTURES`.
        default_size: side of the image in pixels where the caller names none.
        objects: least and most objects tried per image (inclusive); crowded images may keep fewer, never none.
        side: least and most side of an object's box, as a part of the image's side.
        rotation: largest rotation of a shape in degrees, either way.
        outside: largest part of its side by which an object may stick out of the image.
        min_visible: least part of an object's pixels that must remain visible; less, and it is not annotated.
        class_texture: every class carries its own texture; otherwise surfaces are plain and only shape tells.
        octaves: (cells, amplitude in gray levels) of the background's low-frequency noise.
        clutter: least and most distractors behind the objects (curves and blobs of no class).
        occluders: most bars in front of the objects.
    """

    classes: tuple[str, ...]
    default_size: int
    objects: tuple[int, int]
    side: tuple[float, float]
    rotation: float
    outside: float
    min_visible: float
    class_texture: bool
    octaves: tuple[tuple[int, float], ...]
    clutter: tuple[int, int]
    occluders: int


DIFFICULTIES = {
    "easy": Difficulty(
        classes=("disc", "square", "triangle"), default_size=128, objects=(1, 4), side=(0.2, 0.45), rotation=25.0,
        outside=0.0, min_visible=0.85, class_texture=True, octaves=((3, 40.0), (6, 12.0)), clutter=(0, 0), occluders=0,
    ),
    "medium": Difficulty(
        classes=tuple(SHAPE_TEXTURES), default_size=128, objects=(1, 6), side=(0.17, 0.45), rotation=180.0,
        outside=0.2, min_visible=0.5, class_texture=True, octaves=((3, 40.0), (7, 18.0), (16, 8.0)), clutter=(0, 4),
        occluders=0,
    ),
    "hard": Difficulty(
        classes=tuple(SHAPE_TEXTURES), default_size=160, objects=(2, 8), side=(0.12, 0.4), rotation=180.0,
        outside=0.3, min_visible=0.4, class_texture=False, octaves=((3, 40.0), (8, 22.0), (20, 12.0)), clutter=(6, 14),
        occluders=2,
    ),
}  # fmt: skip


def get_difficulty(name: str) -> Difficulty:
    """The settings of a difficulty.

    Raises:
        InputError: no such difficulty.
    """
    if name not in DIFFICULTIES:
        raise InputError(f"difficulty={name!r} is not known. Choose one of: {', '.join(DIFFICULTIES)}.")
    return DIFFICULTIES[name]
