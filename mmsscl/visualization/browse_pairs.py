"""Look at what a pretraining config feeds its model: ``mmsscl browse pairs`` and ``tools/browse_pairs.py``."""
import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from torch.utils.data import default_collate

from mmsscl.datasets.transforms.loading import read_photo
from mmsscl.engine.config import load_config
from mmsscl.engine.key_value_action import KeyValueAction
from mmsscl.engine.pair_data import complete_pair_data
from mmsscl.errors import InputError
from mmsscl.registry import DATASETS, MODELS
from mmsscl.visualization.canvas import above, beside, contact_sheet, enlarge, put_label, write_png
from mmsscl.visualization.matched_boxes import draw_original, draw_views

VIEW_SIDE = 300
_MOST_DECODED_SIDE = 1600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line's arguments to a parser."""
    parser.add_argument("config", help="pretraining config")
    parser.add_argument("--out", default="work_dirs/browse", help="folder for the pictures (default: %(default)s)")
    parser.add_argument("--number", type=int, default=8, help="how many samples (default: %(default)s)")
    parser.add_argument("--epoch", type=int, default=0, help="draw them as in this epoch (default: %(default)s)")
    parser.add_argument("--cfg-options", nargs="+", action=KeyValueAction, metavar="KEY=VALUE", help="change the config")


def main(args: argparse.Namespace) -> int:
    """Draw the samples of ``args.config`` into ``args.out``.

    Returns:
        0.

    Raises:
        InputError: the config cannot be read, or its data is not pairs of views.
    """
    config = load_config(args.config, args.cfg_options)
    out = Path(args.out)
    paths, pictures = [], []
    for index, picture in browse_pairs(config, args.number, args.epoch):
        paths.append(write_png(out / f"pair_{index:06d}_epoch_{args.epoch}.png", picture))
        pictures.append(picture)
    sheet = write_png(out / "contact_sheet.png", contact_sheet(pictures))
    MMLogger.get_current_instance().info(f"{len(paths)} pictures in {out}; all together: {sheet}")
    return 0


def browse_pairs(
    config: Config, number: int = 8, epoch: int = 0, indices: Iterable[int] | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Draw samples of a config's training data, evenly spread over the data set.

    Args:
        config: a pretraining config.
        number: how many samples; fewer where the data set is smaller.
        epoch: every sample is drawn as this epoch draws it.
        indices: draw these samples instead.

    Yields:
        Index of the sample, and its picture, uint8 RGB: the original with both crops, and both views with their
        matched boxes before (upper row) and after augmentation.

    Raises:
        InputError: ``number`` below 1, or the config's data is not pairs of views.
    """
    if number < 1:
        raise InputError(f"number={number}: ask for at least one sample.")
    try:
        dataset_config = config.train_dataloader.dataset
    except AttributeError as error:
        raise InputError(
            f"config {config.filename}: has no train_dataloader.dataset. Browse a pretraining config."
        ) from error
    preprocessor_config = config.get("data_preprocessor") or config.get("model", {}).get("data_preprocessor")
    if preprocessor_config is None:
        raise InputError(f"config {config.filename}: has no data_preprocessor, neither its own nor in model.")
    init_default_scope(config.get("default_scope", "mmsscl"))
    complete_pair_data(config)
    dataset = DATASETS.build(dataset_config)
    preprocessor = MODELS.build(preprocessor_config).eval()
    if indices is None:
        indices = np.unique(np.linspace(0, len(dataset) - 1, min(number, len(dataset))).astype(int))
    for index in indices:
        sample = dataset[(epoch, int(index))]
        if not isinstance(sample, dict) or "pairs" not in sample or "boxes" not in sample["pairs"]:
            raise InputError(
                f"config {config.filename}: its data set gives no pairs of views with boxes. "
                "Browse a pretraining config whose pipeline ends with PackPair."
            )
        yield int(index), draw_sample(sample, dataset.path(int(index)), preprocessor)


@torch.no_grad()
def draw_sample(sample: dict[str, Any], path: str, preprocessor: torch.nn.Module) -> np.ndarray:
    """One sample of a data set as a picture; see :func:`browse_pairs`.

    Args:
        sample: ``inputs``: two uint8 views (3, S, S); ``pairs``: geometry, boxes, valid, photometric.
        path: of the original image, or its address.
        preprocessor: the config's data preprocessor, with ``mean`` and ``std``.
    """
    pairs = sample["pairs"]
    boxes, valid = pairs["boxes"], pairs["valid"]
    mean, std = (getattr(preprocessor, name).flatten().cpu().numpy() for name in ("mean", "std"))
    before = draw_views(sample["inputs"], boxes, valid, side=VIEW_SIDE)
    batch = preprocessor(default_collate([sample]), training=True)
    after = draw_views([view[0] for view in batch["inputs"]], boxes, valid, mean, std, side=VIEW_SIDE)
    for picture, text in ((before, "before augmentation"), (after, "after augmentation")):
        put_label(picture, text, (0, VIEW_SIDE))
    views = above([before, after])

    encoded = read_photo(path)
    # a huge photo is decoded at a part of its size
    image = encoded.decode(encoded.best_reduction(max(encoded.height, encoded.width) / _MOST_DECODED_SIDE))
    view_size = tuple(sample["inputs"][0].shape[-2:])
    size = (encoded.height, encoded.width)
    original = draw_original(image, pairs["geometry"], boxes, valid, view_size, side=views.shape[0], image_size=size)
    if original.shape[0] > views.shape[0]:
        original = enlarge(original, views.shape[0] / original.shape[0])
    count = int(np.asarray(valid).sum())
    put_label(original, f"{Path(path).name}  {encoded.width} x {encoded.height}, {count} boxes", (0, original.shape[0]))
    return beside([original, views])
