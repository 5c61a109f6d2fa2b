"""Look at saliency: ``mmsscl browse saliency`` and ``tools/browse_saliency.py``."""
import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mmsscl.datasets.scene_images import SceneImages
from mmsscl.datasets.transforms.loading import read_photo
from mmsscl.engine.config import load_config
from mmsscl.engine.device import pick_device
from mmsscl.engine.key_value_action import KeyValueAction
from mmsscl.engine.output_folder import writable_folder
from mmsscl.engine.pair_data import complete_pair_data
from mmsscl.errors import InputError
from mmsscl.evaluation.network_maps import BRANCHES, build_estimator, extraction_of, load_network, photo_maps
from mmsscl.registry import DATASETS
from mmsscl.saliency.history import SaliencyHistory, read_history, spread_indices
from mmsscl.saliency.store import SaliencyStore, dataset_fingerprint
from mmsscl.short_names import short_names
from mmsscl.visualization.canvas import above, beside, contact_sheet, write_png
from mmsscl.visualization.crop_heat import draw_crop_heat
from mmsscl.visualization.saliency_overlay import draw_maps

_MOST_DECODED_SIDE = 1600
_MOST_IN_A_ROW = 7
_NUMBER = 8


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
    parser.add_argument(
        "--history", metavar="FILE", help="a run's saliency_history.npz: draw the maps of every refresh of it"
    )
    parser.add_argument(
        "--store", action="append", default=[], metavar="FILE", help="a run's saliency_store.bin, shown too; repeatable"
    )
    parser.add_argument("--images", help="folder of photos (default: the config's training data)")
    parser.add_argument("--out", help="folder for the pictures (default: work_dirs/<name of the config>/saliency)")
    parser.add_argument("--number", type=int, help=f"how many photos, evenly spread (default: {_NUMBER}; all of --history)")
    parser.add_argument(
        "--draws", type=int, default=300, help="pairs of crops for the crop heat map; 0: none (default: %(default)s)"
    )
    parser.add_argument("--estimator", metavar="NAME", help="default: that of the config's SaliencyRefreshHook")
    parser.add_argument("--branch", choices=BRANCHES, default="target", help="default: %(default)s, as in the refresh")
    parser.add_argument("--device", help="default: cuda if there is one, else cpu")
    parser.add_argument("--cfg-options", nargs="+", action=KeyValueAction, metavar="KEY=VALUE", help="change the config")


def main(args: argparse.Namespace) -> int:
    """Draw what ``args`` names into ``args.out``: a picture a photo, and all together.

    Returns:
        0.

    Raises:
        InputError: a config, checkpoint, history, store, photo, device or output that cannot be used.
    """
    if (args.number is not None and args.number < 1) or args.draws < 0:
        raise InputError(f"--number {args.number} --draws {args.draws}: ask for one photo or more, and draws from 0.")
    if not args.checkpoints and not args.store and args.history is None:
        raise InputError("there is nothing to draw maps from. Name checkpoints of the config, --history or --store.")
    if args.images and (args.store or args.history is not None):
        raise InputError("--history and --store hold maps of the config's training data. Leave out --images, or them.")
    config = load_config(args.config, args.cfg_options)
    complete_pair_data(config)
    init_default_scope(config.get("default_scope", "mmsscl"))
    device = pick_device(args.device)
    work_dir = config.get("work_dir") or Path("work_dirs") / Path(args.config).stem
    out = writable_folder(args.out or Path(work_dir) / "saliency")
    dataset = training_data(config, args.images)
    columns: list[MapColumn] = []
    if args.history is not None:
        history = read_history(args.history, dataset_fingerprint(dataset))
        rows = spread_indices(len(history.indices), args.number or len(history.indices))
        indices = history.indices[rows]
        columns.extend(columns_of_history(history, rows))
    else:
        indices = spread_indices(len(dataset), args.number or _NUMBER)
    paths = [dataset.path(int(index)) for index in indices]
    for store, name in zip(args.store, short_names(args.store), strict=True):
        columns.append(column_of_store(store, name, dataset, indices))
    if args.checkpoints:
        extraction = extraction_of(config, args.estimator)
        estimator = build_estimator(extraction)
        for checkpoint, name in zip(args.checkpoints, short_names(args.checkpoints), strict=True):
            network = load_network(config, checkpoint, args.branch, device)
            if network.source not in BRANCHES:
                name = f"{name} ({network.source})"
            columns.append(MapColumn(name, *photo_maps(network, estimator, extraction, paths)))
    pictures = []
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
        uint8 RGB picture of each photo. First the photo, then its maps, one a column, in rows of seven. Below, how often
        each place lies in a crop: see :func:`~mmsscl.visualization.crop_heat.draw_crop_heat`; the last column's map
        guides, at full strength. Plain and guided crops share one color scale.

    Raises:
        InputError: a photo cannot be read, or is the only one where the pipeline shuffles maps.
    """
    for position, index in enumerate(indices):
        encoded = read_photo(dataset.path(int(index)))
        # a huge photo is decoded at a part of its size
        image = encoded.decode(encoded.best_reduction(max(encoded.height, encoded.width) / _MOST_DECODED_SIDE))
        labels = [f"{column.name}, trust {column.trust[position]:.2f}" for column in columns]
        tiles = draw_maps(image, [column.maps[position] for column in columns], labels)
        rows = [beside(tiles[start : start + _MOST_IN_A_ROW]) for start in range(0, len(tiles), _MOST_IN_A_ROW)]
        if draws:
            last = columns[-1]
            trust = float(last.trust[position])
            heat = draw_crop_heat(dataset, int(index), encoded, image, last.maps, position, trust, last.name, draws)
            rows += [] if heat is None else [heat]
        yield above(rows)


def training_data(config: Config, images: str | None = None) -> SceneImages:
    """The photos of a pretraining config, with its pipeline.

    Args:
        config: A pretraining config.
        images: A folder of other photos to take; None: the config's own.

    Raises:
        InputError: The config has no training data, or other data than ``SceneImages``.
    """
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


def columns_of_history(history: SaliencyHistory, rows: np.ndarray) -> list[MapColumn]:
    """Maps of every refresh that a history holds, of the photos in some of its rows."""
    return [
        MapColumn(f"after epoch {epoch}", maps[rows] / np.float32(255), history.trust[epoch][rows] / np.float32(255))
        for epoch, maps in history.maps.items()
    ]


def column_of_store(path: str, name: str, dataset: SceneImages, indices: np.ndarray) -> MapColumn:
    """Maps of photos from a run's store.

    Args:
        path: Of the ``saliency_store.bin``.
        name: What to call it in pictures.
        dataset: That the store is for.
        indices: Which photos.

    Raises:
        InputError: The store is for another data set, damaged, or empty.
    """
    store = SaliencyStore.open(path, dataset_fingerprint(dataset))
    if store.version == 0:
        raise InputError(f"--store {path}: is empty, no refresh has filled it yet. Train past the warm-up first.")
    return MapColumn(f"{name}, after epoch {store.epoch}", *store.read_many(indices))
