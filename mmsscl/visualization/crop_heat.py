"""Where a pipeline's crops fall on a photo, with and without saliency."""
from typing import Any

import numpy as np

from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.datasets.scene_images import SceneImages
from mmsscl.datasets.transforms.integral_image import MapIntegral
from mmsscl.datasets.transforms.load_saliency import LoadSaliency
from mmsscl.datasets.transforms.local_crops import LocalCrops
from mmsscl.datasets.transforms.saliency_crop import SaliencyCrop
from mmsscl.datasets.transforms.spatial_consistent_pair import SpatialConsistentPair
from mmsscl.errors import InputError
from mmsscl.saliency.baseline_maps import gaussian_map, uniform_map
from mmsscl.structures.saliency_map import SaliencyMap
from mmsscl.visualization.canvas import beside
from mmsscl.visualization.saliency_overlay import captioned, crop_coverage, draw_heat

PLAIN, GUIDED, LOCAL = "plain crops", "guided crops", "local crops"
_GRID = (48, 48)
_NEXT_TO_NONE = 1e-100
"""A strength at which no crop is moved, but pairs that are too alike are drawn again as saliency has them drawn again."""


def guiding_map(source: str, maps: np.ndarray, position: int) -> tuple[np.ndarray, str]:
    """The map that ``LoadSaliency`` hands to the laws of a photo; controls replace the photo's own.

    Args:
        source: as of ``LoadSaliency``. ``"shuffled"`` gives the map of the photo shown before this one: training takes
            one from the whole data set.
        maps: (N, h, w), of the photos that are shown.
        position: which of them.

    Returns:
        (h, w), and what it is; empty for the photo's own.

    Raises:
        InputError: there is no other photo to take a map from.
    """
    grid = (maps.shape[1], maps.shape[2])
    if source == "gaussian":
        return gaussian_map(grid), "centred Gaussian"
    if source == "uniform":
        return uniform_map(grid), "uniform map"
    if source == "shuffled":
        if len(maps) < 2:
            raise InputError(
                "the pipeline's LoadSaliency(source='shuffled') guides a photo by another one's map, and one photo is "
                "shown. Show two or more (--number), or no crops (--draws 0)."
            )
        return maps[position - 1], "another photo's map"
    return maps[position], ""


def draw_crops(
    dataset: SceneImages, index: int, image: Any, guide: np.ndarray | None, trust: float, draws: int
) -> dict[str, np.ndarray]:
    """Crops of a photo as the data set's pipeline draws them in its first epochs.

    Args:
        dataset: with a pipeline that has a ``SpatialConsistentPair``.
        index: of the photo.
        image: the photo, an ``EncodedImage``; no pixel is decoded.
        guide: (h, w) map that guides at full strength; None: nothing does.
        trust: in the map.
        draws: epochs, at least 1.

    Returns:
        float32 (M, 5): x, y, w, h, flip, by kind. ``PLAIN``: drawn at a strength of next to nothing, which is training
        without saliency, bit for bit, but for the pair's ``max_iou``: as in guided training, a pair too alike is drawn
        again. So all that sets ``GUIDED`` apart (there only where a crop law follows saliency) is where saliency puts
        crops. ``LOCAL``: where the pipeline has local crops, guided where there is a guide.
    """
    pair, local = _step(dataset, SpatialConsistentPair), _step(dataset, LocalCrops)
    follows = guide is not None and any(isinstance(law, SaliencyCrop) for law in pair.crop_laws)
    strengths = {PLAIN: _NEXT_TO_NONE} | ({GUIDED: 1.0} if follows else {})
    crops: dict[str, list[np.ndarray]] = {name: [] for name in strengths}
    for epoch in range(draws):
        for name, strength in strengths.items():
            streams = RandomStreams(dataset.seed, epoch, index)
            saliency = None if guide is None else SaliencyMap(guide, trust, strength, streams.stream("saliency"))
            # the transform's own redraws count, its pixels do not
            crops[name].extend(pair._draw(image, streams.stream("crop"), saliency)[0])
        if local is not None:
            streams = RandomStreams(dataset.seed, epoch, index)
            near = None if guide is None else SaliencyMap(guide, trust, 1.0, streams.stream("local_saliency"))
            size, generator = (image.height, image.width), streams.stream("local_crop")
            drawn = [local.law.sample(size, generator, near) for _ in range(local.number)]
            crops.setdefault(LOCAL, []).extend(drawn)
    return {name: np.stack(each) for name, each in crops.items()}


def draw_crop_heat(
    dataset: SceneImages, index: int, encoded: Any, image: np.ndarray, maps: np.ndarray, position: int, trust: float,
    name: str, draws: int,
) -> np.ndarray | None:  # fmt: skip
    """Pictures of how often each place of a photo lies in a crop of the data set's pipeline, side by side.

    Args:
        dataset: with the pipeline.
        index: of the photo.
        encoded: the photo, for its size.
        image: uint8 (H, W, 3), RGB: the photo.
        maps: float32 (N, h, w), of the photos that are shown.
        position: which of them is this photo's.
        trust: in its map.
        name: of the maps.
        draws: epochs that crops are drawn of, at least 1.

    Returns:
        uint8 RGB: plain crops, guided ones, the difference, local ones; see :func:`draw_crops` for which there are.
        None for a pipeline without ``SpatialConsistentPair``.

    Raises:
        InputError: see :func:`guiding_map`.
    """
    pair, loader = _step(dataset, SpatialConsistentPair), _step(dataset, LoadSaliency)
    if pair is None:
        return None
    guide, guide_name = (None, "") if loader is None else guiding_map(loader.source, maps, position)
    measure, image_size = maps[position] if guide is None else guide, (encoded.height, encoded.width)
    crops = draw_crops(dataset, index, encoded, guide, trust, draws)
    coverages = {kind: crop_coverage(each, image_size, _GRID) for kind, each in crops.items()}
    # may be 0: crops narrower than a cell may cover no centre of one
    shared = max(float(coverage.max()) for kind, coverage in coverages.items() if kind != LOCAL)
    redrawn = "" if guide is None or pair.max_iou is None else "too alike pairs redrawn"
    pictures = []
    for kind, coverage in coverages.items():
        top = float(coverage.max()) if kind == LOCAL else shared
        guided_by = redrawn if kind == PLAIN else "unguided" if guide is None else f"map: {guide_name or name}"
        lines = [f"{kind}, red: {top:.0%} of them", f"saliency inside {_inside(measure, crops[kind], image_size):.3f}"]
        pictures.append(captioned(draw_heat(image, coverage / max(top, 1e-9)), [*lines, guided_by]))
    if GUIDED in coverages:
        gain = coverages[GUIDED] - coverages[PLAIN]
        largest = float(np.abs(gain).max())
        lines = ["guided minus plain", f"red: {largest:+.1%}, green: 0, blue: {-largest:+.1%}", ""]
        pictures.insert(2, captioned(draw_heat(image, 0.5 + gain / max(2 * largest, 1e-9)), lines))
    return beside(pictures)


def _step(dataset: SceneImages, kind: type) -> Any:
    return next((step for step in dataset.pipeline if isinstance(step, kind)), None)


def _inside(values: np.ndarray, crops: np.ndarray, image_size: tuple[int, int]) -> float:
    """Mean over the crops of the map's mean inside, as the laws and scores of training take it."""
    corners = crops[:, :4].astype(np.float64)
    corners[:, 2:] += corners[:, :2]
    return float(MapIntegral(values).means(corners, image_size).mean())
