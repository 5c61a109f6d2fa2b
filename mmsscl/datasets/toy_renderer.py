"""Pixels of the embedded scene set: photo-like scenes of simple objects, with their boxes and visible masks.

A scene is a function of (seed, split, index, size, difficulty) alone, so any image can be drawn again by itself and
image ``i`` is the same however many others are rendered, in whatever order or process.
"""
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from mmsscl.datasets.toy_difficulty import DIFFICULTIES, SHAPE_TEXTURES, Difficulty, get_difficulty
from mmsscl.errors import InputError

RENDERER_VERSION = 2
"""Raise when the pixels change: folders rendered by another version are then rendered anew."""

SPLITS = ("train", "val", "unlabeled")
SUPERSAMPLING = 4


class Scene(NamedTuple):
    """One rendered scene.

    Attributes:
        image: uint8 (size, size, 3), RGB.
        labels: int64 (N,), indices into the difficulty's classes.
        boxes: float64 (N, 4), xywh in pixels, the tight boxes of the masks (pixel ``i`` covers ``[i, i + 1]``).
        masks: bool (N, size, size), the visible pixels; no two overlap.
    """

    image: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray


def render_scene(
    index: int, split: str = "train", size: int | None = None, difficulty: str = "easy", seed: int = 0
) -> Scene:
    """Draw one scene.

    Args:
        index: number of the image in its split, from 0.
        split: "train", "val" or "unlabeled"; scenes of different splits differ.
        size: side of the square image in pixels; None takes the difficulty's own (128, hard 160).
        difficulty: "easy" (three classes told apart by shape and texture), "medium" (six, some occlusion) or "hard"
            (six classes told apart by shape only, occlusion, clutter).
        seed: of the whole set.

    Returns:
        The image with at least one annotated object.

    Raises:
        InputError: an unknown difficulty or split, or a size outside 32 to 2048.

    Example:
        >>> render_scene(0, size=96).image.shape
        (96, 96, 3)
    """
    law = get_difficulty(difficulty)
    size = law.default_size if size is None else size
    if split not in SPLITS:
        raise InputError(f"split={split!r} is not known. Choose one of: {', '.join(SPLITS)}.")
    if not 32 <= size <= 2048:
        raise InputError(f"size={size} is out of range. Choose an image side between 32 and 2048 pixels.")
    rng = np.random.default_rng([seed, SPLITS.index(split), index, list(DIFFICULTIES).index(difficulty), size])
    canvas = _background(law, size, rng)
    light = _unit_vector(rng.uniform(0.0, 2.0 * math.pi))

    labels: list[int] = []
    visible: list[np.ndarray] = []
    full_areas: list[int] = []
    for _ in range(int(rng.integers(law.objects[0], law.objects[1] + 1))):
        label = int(rng.integers(len(law.classes)))
        patch = _draw_object(law, law.classes[label], size, light, rng)
        mask = _place(patch, law, visible, full_areas, size, rng)
        if mask is None:
            continue
        _blend(canvas, patch, light)
        visible = [other & ~mask for other in visible]
        visible.append(mask)
        labels.append(label)
        full_areas.append(patch.area)

    for _ in range(int(rng.integers(law.occluders + 1))):
        coverage = _draw_bar(size, rng)
        remaining = [mask & (coverage < 0.5) for mask in visible]
        # a bar that would hide an object keeps out: the object would be seen but not annotated
        if all(mask.sum() >= law.min_visible * area for mask, area in zip(remaining, full_areas)):
            visible = remaining
            canvas += (_random_color(rng) - canvas) * coverage[..., None]

    # one grain for all channels: drawing three costs as much as the rest of an easy scene
    grain = rng.standard_normal((size, size), dtype=np.float32) * np.float32(rng.uniform(1.5, 4.0))
    canvas += grain[..., None] + np.float32(0.5)
    image = np.clip(canvas, 0.0, 255.0, out=canvas).astype(np.uint8)
    masks = np.stack(visible)
    return Scene(image, np.array(labels, np.int64), np.stack([_tight_box(mask) for mask in masks]), masks)


@dataclass
class _Patch:
    """An object with a margin for its shadow: color (h, w, 3), coverage (h, w) in [0, 1], where it lies (left, top)."""

    color: np.ndarray
    coverage: np.ndarray
    margin: int
    area: int
    left: int = 0
    top: int = 0


def _unit_vector(angle: float) -> np.ndarray:
    return np.array([math.cos(angle), math.sin(angle)], np.float32)


def _random_color(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(20.0, 235.0, 3).astype(np.float32)


def _color_pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two random colors whose brightness differs enough for a texture to survive graying and color jitter."""
    first, second = _random_color(rng), _random_color(rng)
    gap = float(first.mean() - second.mean())
    if abs(gap) < 70.0:
        shift = (70.0 - abs(gap)) / 2.0 * (1.0 if gap >= 0 else -1.0)
        first, second = first + shift, second - shift
    return np.clip(first, 0.0, 255.0), np.clip(second, 0.0, 255.0)


def _background(law: Difficulty, size: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth colored noise, with distractors; float32 (size, size, 3)."""
    canvas = np.full((size, size, 3), rng.uniform(60.0, 195.0, 3), np.float32)
    for cells, amplitude in law.octaves:
        hue = rng.uniform(-amplitude, amplitude, (cells, cells, 3))
        brightness = rng.uniform(-amplitude, amplitude, (cells, cells, 1))
        # photos vary more in brightness than in color
        grid = (0.6 * hue + brightness).astype(np.float32)
        cv2.add(canvas, cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC), dst=canvas)
    np.clip(canvas, 0.0, 255.0, out=canvas)
    distractors = int(rng.integers(law.clutter[0], law.clutter[1] + 1))
    if distractors == 0:
        return canvas
    pixels = canvas.astype(np.uint8)
    for _ in range(distractors):
        color = tuple(float(c) for c in _random_color(rng))
        if rng.random() < 0.6:
            ends = rng.uniform(-0.1, 1.1, (3, 2)) * size
            t = np.linspace(0.0, 1.0, 16)[:, None]
            curve = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * ends[1] + t**2 * ends[2]
            thickness = max(1, round(float(rng.uniform(0.006, 0.03)) * size))
            cv2.polylines(pixels, [np.round(curve * 16).astype(np.int32)], False, color, thickness, cv2.LINE_AA, 4)
        else:
            angles = np.linspace(0.0, 2.0 * math.pi, 9, endpoint=False)
            radii = rng.uniform(0.4, 1.0, 9) * rng.uniform(0.03, 0.09) * size
            blob = rng.uniform(0.0, 1.0, 2) * size + np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]
            cv2.fillPoly(pixels, [np.round(blob * 16).astype(np.int32)], color, cv2.LINE_AA, 4)
    return pixels.astype(np.float32)


def _outline(shape: str) -> np.ndarray:
    """Corners of a shape, (n, 2), around the origin, no larger than the unit circle."""

    def arc(start: float, end: float, steps: int) -> np.ndarray:
        angles = np.linspace(start, end, steps)
        return np.stack([np.cos(angles), np.sin(angles)], 1)

    if shape == "disc":
        return arc(0.0, 2.0 * math.pi, 49)[:-1]
    if shape == "square":
        return arc(math.pi / 4, math.pi / 4 + 2.0 * math.pi, 5)[:-1]
    if shape == "triangle":
        return arc(-math.pi / 2, 1.5 * math.pi, 4)[:-1]
    if shape == "star":
        return arc(-math.pi / 2, 1.5 * math.pi, 11)[:-1] * np.tile([[1.0], [0.45]], (5, 1))
    if shape == "cross":
        quarter = np.array([[1.0, -0.33], [1.0, 0.33], [0.33, 0.33]])
        turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
        return np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])
    return np.concatenate([arc(0.0, math.pi, 25), arc(math.pi, 0.0, 25) * [[0.55, 0.35]]])  # bowl


_TEXTURES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "rings": lambda u, v: np.sin(np.hypot(u, v)),
    "checks": lambda u, v: 1.6 * np.sin(u * 0.8) * np.sin(v * 0.8),
    "stripes": lambda u, v: np.sin(u),
    "dots": lambda u, v: np.cos(u) + np.cos(v) - 0.6,
    "lattice": lambda u, v: np.maximum(np.cos(u), np.cos(v)) - 0.5,
    "waves": lambda u, v: np.sin(u + 1.5 * np.sin(v)),
}


def _draw_object(law: Difficulty, shape: str, size: int, light: np.ndarray, rng: np.random.Generator) -> _Patch:
    """A shape at a random scale, aspect and rotation, textured and lit, at a random sub-pixel offset."""
    corners = _outline(shape)
    angle = math.radians(rng.uniform(-law.rotation, law.rotation))
    aspect = math.sqrt(rng.uniform(0.75, 1.33))
    rotation = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    corners = (corners * [aspect, 1.0 / aspect]) @ rotation
    extent = corners.max(0) - corners.min(0)
    # log-uniform, as object sizes in photos are
    side = size * math.exp(rng.uniform(math.log(law.side[0]), math.log(law.side[1])))
    corners = (corners - corners.min(0)) * (side / extent.max())
    margin = max(2, round(0.04 * size))
    corners += margin + rng.uniform(0.0, 1.0, 2)
    width, height = (math.ceil(c) + margin for c in corners.max(0))

    fine = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
    # cv2 counts from pixel centres, hence the half pixel; 4 fractional bits
    cv2.fillPoly(fine, [np.round((corners * SUPERSAMPLING - 0.5) * 16).astype(np.int32)], (255,), cv2.LINE_8, 4)
    coverage = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)

    center = (corners.max(0) + corners.min(0)) / 2
    x = (np.arange(width, dtype=np.float32) + 0.5 - np.float32(center[0]))[None, :]
    y = (np.arange(height, dtype=np.float32) + 0.5 - np.float32(center[1]))[:, None]
    first, second = _color_pair(rng)
    if law.class_texture:
        turn = angle + rng.uniform(-0.35, 0.35)
        wave = 2.0 * math.pi / max(4.0, rng.uniform(0.055, 0.075) * size)
        u = (x * math.cos(turn) + y * math.sin(turn)) * wave + rng.uniform(-math.pi, math.pi)
        v = (y * math.cos(turn) - x * math.sin(turn)) * wave + rng.uniform(-math.pi, math.pi)
        pattern = _TEXTURES[SHAPE_TEXTURES[shape]](u, v)
        share = np.clip(0.5 + 1.2 * pattern, 0.0, 1.0)
    else:
        share = np.broadcast_to(0.2 * (x / side + 0.5), coverage.shape)
    color = first + (second - first) * share[..., None].astype(np.float32)
    shading = 1.0 + 0.35 * (x * light[0] + y * light[1]) / np.float32(side)
    color = color * shading[..., None].astype(np.float32)
    return _Patch(color.astype(np.float32), coverage, margin, int((coverage >= 0.5).sum()))


def _place(
    patch: _Patch, law: Difficulty, visible: list[np.ndarray], full_areas: list[int], size: int,
    rng: np.random.Generator, attempts: int = 20,
) -> np.ndarray | None:  # fmt: skip
    """Find a place where enough of the object and of those behind it is seen; its mask (size, size), or None."""
    height, width = patch.coverage.shape
    inner = np.array([width, height]) - 2 * patch.margin
    slack = np.floor(law.outside * inner)
    shape = patch.coverage >= 0.5
    for _ in range(attempts):
        corner = np.floor(rng.uniform(-slack, np.maximum(size - inner + slack, 1e-6)))
        patch.left, patch.top = (int(c) - patch.margin for c in corner)
        rows, columns, patch_rows, patch_columns = _overlap(patch, size)
        mask = np.zeros((size, size), bool)
        mask[rows, columns] = shape[patch_rows, patch_columns]
        if mask.sum() < law.min_visible * patch.area:
            continue
        if all((other & ~mask).sum() >= law.min_visible * area for other, area in zip(visible, full_areas)):
            return mask
    return None


def _overlap(patch: _Patch, size: int) -> tuple[slice, slice, slice, slice]:
    """Rows and columns of the image, then of the patch, that lie on each other."""
    height, width = patch.coverage.shape
    top, left = max(patch.top, 0), max(patch.left, 0)
    bottom, right = min(patch.top + height, size), min(patch.left + width, size)
    return (
        slice(top, bottom),
        slice(left, right),
        slice(top - patch.top, bottom - patch.top),
        slice(left - patch.left, right - patch.left),
    )


def _blend(canvas: np.ndarray, patch: _Patch, light: np.ndarray) -> None:
    """Cast the object's soft shadow away from the light, then draw the object."""
    rows, columns, patch_rows, patch_columns = _overlap(patch, canvas.shape[0])
    shift = -light * patch.margin * 0.5
    move = np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]]], np.float32)
    shadow = cv2.GaussianBlur(patch.coverage, (0, 0), patch.margin * 0.35)
    shadow = cv2.warpAffine(shadow, move, shadow.shape[::-1])[patch_rows, patch_columns, None]
    coverage = patch.coverage[patch_rows, patch_columns, None]
    region = canvas[rows, columns]
    region *= 1.0 - np.float32(0.4) * shadow
    region += (patch.color[patch_rows, patch_columns] - region) * coverage


def _draw_bar(size: int, rng: np.random.Generator) -> np.ndarray:
    """Coverage (size, size) in [0, 1] of a thin bar across the image, as a pole or a wire crosses a photo."""
    ends = rng.uniform(0.0, 1.0, (2, 2)) * size
    ends[:, int(rng.integers(2))] = (-5.0, size + 5.0)
    bar = np.zeros((size, size), np.uint8)
    thickness = max(1, round(float(rng.uniform(0.01, 0.03)) * size))
    cv2.polylines(bar, [np.round(ends * 16).astype(np.int32)], False, (255,), thickness, cv2.LINE_AA, 4)
    return bar.astype(np.float32) / np.float32(255)


def _tight_box(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1], np.float64)
