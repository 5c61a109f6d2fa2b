"""How well features know regions of photos: retrieval across views, and CorLoc."""
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmsscl.errors import InputError
from mmsscl.evaluation.eval_saliency import score_maps
from mmsscl.evaluation.feature_network import FeatureNetwork
from mmsscl.evaluation.labelled_photos import BoxedPhotos
from mmsscl.evaluation.network_maps import Extraction, PretrainedNetwork, build_estimator, photo_maps
from mmsscl.evaluation.paired_bootstrap import paired_differences
from mmsscl.evaluation.region_features import Regions, closeness, region_features
from mmsscl.evaluation.region_pairs import PairSettings
from mmsscl.evaluation.region_retrieval import Ranks, box_overlaps, retrieval_ranks

SCORES = ("top1", "top5", "mrr")
"""Of :meth:`~mmsscl.evaluation.region_retrieval.Ranks.scores`."""
SIZES = {"small": (0.0, 1.5), "medium": (1.5, 2.5), "large": (2.5, float("inf"))}
"""Sides of regions in feature cells, from and below."""


def region_quality(
    networks: Mapping[str, FeatureNetwork],
    paths: Sequence[str],
    pairs: PairSettings | None = None,
    same_iou: float = 0.5,
    aligned: bool = False,
    boxed: BoxedPhotos | None = None,
    corloc_size: int | None = None,
) -> dict[str, Any]:
    """Look for regions of photos in other views of these, by networks' features and by what tells little.

    Rows that are no networks: "position", the nearest box by centre and sides in its view; "color", the nearest mean color;
    "chance", what features that are all the same get.

    Args:
        networks: by the names that the rows get; at least one.
        paths: of the photos.
        pairs: how views and boxes are drawn.
        same_iou: boxes that overlap the right one by more show nearly the same and are left out of its candidates, in
            (0, 1].
        aligned: see :func:`~mmsscl.evaluation.region_features.region_features`.
        boxed: photos with objects' boxes, to score CorLoc on.
        corloc_size: side that whole photos are squashed to for it; default: that of the views.

    Returns:
        ``settings``; ``photos``; ``left_out``: how many of them had no box in both views; ``queries``; ``rows``, dicts with
        ``name``, ``photo`` and ``all``: ``top1``, ``top5`` and ``mrr`` among the boxes of the same photo and of all, and
        ``sizes``: for each of ``SIZES`` the ``queries`` and the two ``top1`` (None without a query), by cells of the
        row's network, of the first for other rows; ``differences`` of the other networks from the first, see
        :func:`~mmsscl.evaluation.paired_bootstrap.paired_differences`, with scores such as "all top1";
        ``corloc``: of :func:`corloc`, None without ``boxed``.

    Raises:
        InputError: see :func:`~mmsscl.evaluation.eval_regions.main`.
    """
    pairs = pairs or PairSettings()
    if pairs.num_boxes < 2:
        raise InputError(f"--boxes {pairs.num_boxes}: with fewer than two regions a photo there is nothing to choose from.")
    if not 0 < same_iou <= 1:
        raise InputError(f"--same-iou {same_iou}: give an IoU above 0, up to 1.")
    corloc_size = pairs.size if corloc_size is None else corloc_size
    regions = region_features(networks, paths, pairs, aligned)
    same = box_overlaps(regions.boxes[1]) > same_iou
    first = next(iter(networks))
    asked: list[tuple[str, int, Tensor, Tensor]] = []
    for name, found in regions.features.items():
        asked.append((name, regions.strides[name], found[0], found[1]))
    for name, points in (("position", regions.places() / pairs.size), ("color", regions.colors / 255)):
        asked.append((name, regions.strides[first], *closeness(points)))
    rows, by_photo = [], {}
    for name, stride, queries, candidates in asked:
        ranks = retrieval_ranks(queries, candidates, regions.valid, same)
        rows.append(_row(name, ranks, regions, stride))
        if name in networks:
            by_photo[name] = _by_photo(ranks, regions)
    rows.append(_row("chance", (ranks[0].guessing(), ranks[1].guessing()), regions, regions.strides[first]))
    return {
        "settings": {
            **asdict(pairs),
            "same_iou": same_iou,
            "aligned": aligned,
            "corloc_size": corloc_size,
            "strides": regions.strides,
            "sha256": {name: network.sha256 for name, network in networks.items()},
        },
        "photos": len(paths),
        "left_out": int((~regions.valid.any(1)).sum()),
        "queries": int(regions.valid.sum()),
        "rows": rows,
        "differences": paired_differences(by_photo, _scores),
        "corloc": None if boxed is None else corloc(networks, boxed, corloc_size, pairs.batch_size),
    }


def corloc(networks: Mapping[str, FeatureNetwork], photos: BoxedPhotos, size: int, batch_size: int = 32) -> dict[str, Any]:
    """CorLoc of ``GeodesicSaliency`` maps of the networks' features, one value a feature cell.

    Args:
        networks: by name.
        photos: with boxes of objects.
        size: side of the square that whole photos are squashed to, in pixels.
        batch_size: photos at a time.

    Returns:
        As :func:`~mmsscl.evaluation.eval_saliency.score_maps`.

    Raises:
        InputError: a photo cannot be read, none shows an object, or the size gives too few cells.
    """
    made = []
    for name, network in networks.items():
        stride = network.stride
        grid = size // stride
        # the outermost cells are always 0
        if grid < 3:
            raise InputError(f"--corloc-size {size}: has under 3 cells of {name}'s {stride} px. Give {8 * stride} or more.")
        extraction = Extraction({"type": "GeodesicSaliency"}, size, grid, batch_size, mirror=False)
        # the pixels come as they are: the network normalises itself
        plain = torch.zeros(3, 1, 1, device=network.device)
        whole = PretrainedNetwork(_Maps(network), None, plain, plain + 1)
        made.append((name, *photo_maps(whole, build_estimator(extraction), extraction, photos.paths)))
    return score_maps(made, photos)


class _Maps(nn.Module):
    """A network whose call gives its maps."""

    def __init__(self, network: FeatureNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.maps(images)


def _by_photo(ranks: tuple[Ranks, Ranks], regions: Regions) -> np.ndarray:
    """(photos with a region, 7): each one's sums over its regions, and their number last."""
    valid = regions.valid.numpy()
    photo = np.nonzero(valid)[0]
    sums = [np.bincount(photo, part, len(valid)) for each in ranks for part in each.query_scores().values()]
    queries = valid.sum(1)
    return np.stack([*sums, queries], axis=1)[queries > 0]


def _scores(sums: np.ndarray) -> dict[str, np.ndarray]:
    names = [f"{where} {score}" for where in ("photo", "all") for score in SCORES]
    return {name: sums[..., place] / sums[..., -1] for place, name in enumerate(names)}


def _row(name: str, ranks: tuple[Ranks, Ranks], regions: Regions, stride: int) -> dict[str, Any]:
    within, across = ranks
    cells = regions.cells(stride)[regions.valid].numpy()
    sizes = {}
    for kind, (least, limit) in SIZES.items():
        chosen: np.ndarray = (cells >= least) & (cells < limit)
        top1 = (each.scores(chosen)["top1"] if chosen.any() else None for each in (within, across))
        sizes[kind] = {"queries": int(chosen.sum()), **dict(zip(("photo", "all"), top1, strict=True))}
    return {"name": name, "photo": within.scores(), "all": across.scores(), "sizes": sizes}
