"""Feature maps as colors: their first three principal components as red, green and blue."""
from collections.abc import Sequence

import cv2
import numpy as np
import torch

from mmsscl.datasets.transforms.loading import read_photo
from mmsscl.errors import InputError
from mmsscl.evaluation.feature_network import FeatureNetwork

_SHORT_SIDE = 448
_MOST_ASPECT = 2.0


def feature_colors(maps: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Color the cells of feature maps: like features have like colors, in all maps together.

    The components are those of all cells of all maps, centred; each color channel reaches from the 1st to the 99th
    percentile of its component, so a few outliers cost no contrast. The sign of a component is arbitrary: the one is taken
    in which its entry of largest magnitude is positive.

    Args:
        maps: Float (C, h_i, w_i) each, at least one, of the same C.

    Returns:
        uint8 (h_i, w_i, 3) each. Channels beyond the number of components are mid-gray.

    Raises:
        InputError: A value is not finite.

    Example:
        >>> feature_colors([np.random.default_rng(0).normal(size=(8, 4, 6))])[0].shape
        (4, 6, 3)
    """
    cells = np.concatenate([values.reshape(values.shape[0], -1).T for values in maps]).astype(np.float64)
    if not np.isfinite(cells).all():
        raise InputError("features are not finite: the weights are damaged or diverged. Take an earlier checkpoint.")
    cells -= cells.mean(0)
    _, axes = np.linalg.eigh(cells.T @ cells)
    axes = axes[:, ::-1][:, :3]
    axes *= np.where(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])] < 0, -1.0, 1.0)
    components = cells @ axes
    low, high = np.percentile(components, (1, 99), axis=0)
    flat = high - low < 1e-9 * max(1.0, float(np.abs(components).max()))
    scaled = np.where(flat, 0.5, (components - low) / np.where(flat, 1.0, high - low))
    colors = np.full((len(cells), 3), 128, np.uint8)
    colors[:, : scaled.shape[1]] = np.rint(np.clip(scaled, 0, 1) * 255)
    ends = np.cumsum([values.shape[1] * values.shape[2] for values in maps])[:-1]
    return [part.reshape(*values.shape[1:], 3) for part, values in zip(np.split(colors, ends), maps, strict=True)]


def photo_colors(network: FeatureNetwork, paths: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Photos, and beside each the colors of its last feature map.

    Args:
        network: The backbone.
        paths: Of the photos.

    Returns:
        For each photo: itself, short side 448 px (panoramas squashed to 2:1), and its colors at that size, both uint8
        (H, W, 3), RGB.

    Raises:
        InputError: A photo cannot be read, or its features are not finite.
    """
    photos = [_fitted(path) for path in paths]
    maps = [network.maps(torch.from_numpy(photo).permute(2, 0, 1)[None])[0].cpu().numpy() for photo in photos]
    colors = feature_colors(maps)
    return [
        (photo, cv2.resize(own, (photo.shape[1], photo.shape[0]), interpolation=cv2.INTER_NEAREST))
        for photo, own in zip(photos, colors, strict=True)
    ]


def _fitted(path: str) -> np.ndarray:
    encoded = read_photo(path)
    short = min(encoded.height, encoded.width)
    pixels = encoded.decode(encoded.best_reduction(short / _SHORT_SIDE))
    sides = [round(min(side / short, _MOST_ASPECT) * _SHORT_SIDE) for side in (encoded.width, encoded.height)]
    return cv2.resize(pixels, (sides[0], sides[1]), interpolation=cv2.INTER_AREA)
