"""Look at saliency: ``mmsscl saliency`` and ``tools/browse_saliency.py``."""
import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.datasets.scene_images import SceneImages
from mmsscl.datasets.transforms.load_saliency import LoadSaliency
from mmsscl.datasets.transforms.local_crops import LocalCrops
from mmsscl.datasets.transforms.spatial_consistent_pair import SpatialConsistentPair
from mmsscl.engine.config import load_config
from mmsscl.engine.pair_data import complete_pair_data
from mmsscl.errors import InputError
from mmsscl.evaluation.network_maps import BRANCHES, build_estimator, extraction_of, load_network, photo_maps, read_photo
from mmsscl.registry import DATASETS
from mmsscl.saliency.baseline_maps import gaussian_map, uniform_map
from mmsscl.saliency.store import SaliencyStore, dataset_fingerprint
from mmsscl.structures.saliency_map import SaliencyMap
from mmsscl.visualization.canvas import above, beside, contact_sheet, write_png
from mmsscl.visualization.saliency_overlay import captioned, crop_coverage, draw_heat, draw_maps, mean_inside

_MOST_DECODED_SIDE = 1600
_GRID = (48, 48)


@dataclass(frozen=True)
class MapColumn:
    """Maps of the shown photos from one checkpoint or store.

    Attributes:
        name: what they come from.
        maps: float32 (N, h, w) in [0, 1].
        trust: float32 (N,) in [0, 1].
    """

    name: str
    maps: np.ndarray
    trust: np.ndarray


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line's arguments to a parser."""
    parser.add_argument("config", help="pretraining config")
    parser.add_argument("checkpoints", nargs="*", metavar="checkpoint", help="its checkpoints, in order of training")
    parser.add_argument("--store", nargs="+", default=[], metavar="FILE", help="saliency stores of its runs, shown too")
    parser.add_argument("--images", help="folder of photos (default: the config's training data)")
    parser.add_argument("--out", default="work_dirs/saliency", help="folder for the pictures (default: %(default)s)")
    parser.add_argument("--number", type=int, default=8, help="how many photos, evenly spread (default: %(default)s)")
    parser.add_argument("--draws", type=int, default=300, help="pairs of crops for the crop heat map; 0: none")
    parser.add_argument("--estimator", metavar="NAME", help="default: that of the config's SaliencyRefreshHook")
    parser.add_argument("--branch", choices=BRANCHES, default="target", help="default: %(default)s, as in the refresh")
    parser.add_argument("--device", help="default: cuda if there is one, else cpu")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="change the config")


def main(args: argparse.Namespace) -> int:
    """Draw what ``args`` names into ``args.out``: a picture a photo, and all together.

    Returns:
        0.

    Raises:
        InputError: a config, checkpoint, store or photo that cannot be used.
    """
    if args.number < 1 or args.draws < 0:
        raise InputError(f"--number {args.number} --draws {args.draws}: ask for one photo or more, and draws from 0.")
    if not args.checkpoints and not args.store:
        raise InputError("there is nothing to draw maps from. Name checkpoints of the config, or --store FILE.")
    if args.store and args.images:
        raise InputError("--store holds maps of the config's training data. Leave out --images, or --store.")
    config = load_config(args.config, args.cfg_options)
    complete_pair_data(config)
    init_default_scope(config.get("default_scope", "mmsscl"))
    dataset = _training_data(config, args.images)
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(args.number, len(dataset))).round().astype(int))
    paths = [dataset.path(int(index)) for index in indices]
    columns = [_from_store(store, dataset, indices) for store in args.store]
    if args.checkpoints:
        extraction = extraction_of(config, args.estimator)
        estimator = build_estimator(extraction)
        device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
        for checkpoint in args.checkpoints:
            network = load_network(config, checkpoint, args.branch, device)
            columns.append(MapColumn(Path(checkpoint).stem, *photo_maps(network, estimator, extraction, paths)))
    out, pictures = Path(args.out), []
    for index, picture in zip(indices, draw_photos(dataset, indices, columns, args.draws), strict=True):
        write_png(out / f"saliency_{index:06d}.png", picture)
        pictures.append(picture)
    sheet = write_png(out / "contact_sheet.png", contact_sheet(pictures, columns=2, tile_width=900))
    MMLogger.get_current_instance().info(f"{len(pictures)} pictures in {out}; all together: {sheet}")
    return 0


def draw_photos(dataset: SceneImages, indices: np.ndarray, columns: list[MapColumn], draws: int) -> Iterator[np.ndarray]:
    """Draw photos with their maps and where the pipeline's crops fall on them.

    Args:
        dataset: the photos and the pipeline.
        indices: which photos.
        columns: their maps, in order of training.
        draws: epochs that crops are drawn of; 0: no crops.

    Yields:
        uint8 RGB picture of each photo. Upper row: the photo, then its maps, one a column. Lower row: how often each
        place lies in a plain crop, in a crop guided by the last column's map at full strength, the difference of the two,
        and how often in a local crop, where the pipeline has them. The plain and the guided share one color scale.
    """
    pair = next((step for step in dataset.pipeline if isinstance(step, SpatialConsistentPair)), None)
    local = next((step for step in dataset.pipeline if isinstance(step, LocalCrops)), None)
    loader = next((step for step in dataset.pipeline if isinstance(step, LoadSaliency)), None)
    for position, index in enumerate(indices):
        encoded = read_photo(dataset.path(int(index)))
        # a huge photo is decoded at a part of its size
        image = encoded.decode(encoded.best_reduction(max(encoded.height, encoded.width) / _MOST_DECODED_SIDE))
        labels = [f"{column.name}, trust {column.trust[position]:.2f}" for column in columns]
        picture = beside(draw_maps(image, [column.maps[position] for column in columns], labels))
        if draws and pair is not None:
            guide, name = _guiding_map(loader.source if loader else "store", columns[-1], position)
            trust = float(columns[-1].trust[position])
            crops = _draw_crops(dataset.seed, int(index), encoded, pair, local, guide, trust, draws)
            coverages = _draw_coverages(image, (encoded.height, encoded.width), crops, guide, name)
            picture = above([picture, coverages])
        yield picture


def _training_data(config: Config, images: str | None) -> SceneImages:
    dataset_config = (config.get("train_dataloader") or {}).get("dataset")
    if dataset_config is None:
        raise InputError(f"config {config.filename}: has no train_dataloader.dataset. Give a pretraining config.")
    if images is not None:
        kept = {key: dataset_config[key] for key in ("pipeline", "seed") if key in dataset_config}
        return SceneImages(data_root=images, **kept)
    dataset = DATASETS.build(dataset_config)
    if not isinstance(dataset, SceneImages):
        raise InputError(
            f"config {config.filename}: its training data is {type(dataset).__name__}, not SceneImages. "
            "Name a folder of photos with --images."
        )
    return dataset


def _from_store(path: str, dataset: SceneImages, indices: np.ndarray) -> MapColumn:
    store = SaliencyStore.open(path, dataset_fingerprint(dataset))
    if store.version == 0:
        raise InputError(f"--store {path}: is empty, no refresh has filled it yet. Train past the warm-up first.")
    found = [store.read(int(index)) for index in indices]
    name = f"store, epoch {store.epoch}"
    return MapColumn(name, np.stack([values for values, _ in found]), np.array([trust for _, trust in found], np.float32))


def _guiding_map(source: str, column: MapColumn, position: int) -> tuple[np.ndarray, str]:
    """What the pipeline would hand to the laws of this photo, and its name; controls replace the photo's own map."""
    grid = column.maps.shape[1:]
    if source == "gaussian":
        return gaussian_map(grid), "centred Gaussian"
    if source == "uniform":
        return uniform_map(grid), "uniform map"
    if source == "shuffled":
        return column.maps[position - 1], "another photo's map"
    return column.maps[position], column.name


def _draw_crops(
    seed: int,
    index: int,
    image: Any,
    pair: SpatialConsistentPair,
    local: LocalCrops | None,
    guide: np.ndarray,
    trust: float,
    draws: int,
) -> dict[str, np.ndarray]:
    """Crops (M, 5) of the first ``draws`` epochs: plain, guided, and local where the pipeline has local crops."""
    crops: dict[str, list[np.ndarray]] = {"plain crops": [], "guided crops": []}
    for epoch in range(draws):
        for name in ("plain crops", "guided crops"):
            streams = RandomStreams(seed, epoch, index)
            saliency = SaliencyMap(guide, trust, float(name == "guided crops"), streams.stream("saliency"))
            # the transform's own redraws count, its pixels do not
            crops[name].extend(pair._draw(image, streams.stream("crop"), saliency)[0])
        if local is not None:
            near = saliency._replace(generator=streams.stream("local_saliency"))
            size, generator = (image.height, image.width), streams.stream("local_crop")
            drawn = [local.law.sample(size, generator, near) for _ in range(local.number)]
            crops.setdefault("local crops", []).extend(drawn)
    return {name: np.stack(each) for name, each in crops.items()}


def _draw_coverages(
    image: np.ndarray, image_size: tuple[int, int], crops: dict[str, np.ndarray], guide: np.ndarray, guide_name: str
) -> np.ndarray:
    coverages = {name: crop_coverage(each, image_size, _GRID) for name, each in crops.items()}
    shared = max(coverages["plain crops"].max(), coverages["guided crops"].max())
    pictures = []
    for name, coverage in coverages.items():
        top = float(coverage.max() if name == "local crops" else shared)
        lines = [f"{name}, red: {top:.0%} of them", f"saliency inside {mean_inside(guide, crops[name], image_size):.3f}"]
        lines.append("" if name == "plain crops" else f"by {guide_name}")
        pictures.append(captioned(draw_heat(image, coverage / top), lines))
    gain = coverages["guided crops"] - coverages["plain crops"]
    largest = float(np.abs(gain).max())
    # both kinds are drawn from the same random numbers, so the difference is saliency's
    lines = ["guided minus plain", f"red: {largest:+.1%}, green: 0, blue: {-largest:+.1%}", ""]
    pictures.insert(2, captioned(draw_heat(image, 0.5 + gain / max(2 * largest, 1e-9)), lines))
    return beside(pictures)
