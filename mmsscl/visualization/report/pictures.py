"""The pictures of a report, drawn from a run's config, photos, maps and newest checkpoint."""
import base64
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log

from mmsscl.engine.hooks.saliency_refresh_hook import SaliencyRefreshHook
from mmsscl.errors import InputError
from mmsscl.visualization.canvas import beside, enlarge
from mmsscl.visualization.report.read_run import Run

if TYPE_CHECKING:
    from mmsscl.visualization.browse_saliency import MapColumn

_MOST_WIDTH = 1400
_MOST_COLUMNS = 6
_MOST_CHECKPOINTS = 3
_QUALITY = 82


class Picture(NamedTuple):
    """Attributes:
        caption: Below it.
        address: ``data:`` with the JPEG in it.
        size: Width and height in pixels.
    """

    caption: str
    address: str
    size: tuple[int, int]


@dataclass
class Gallery:
    """The pictures of a section, or why there are none.

    Attributes:
        title: Of the section.
        text: What the pictures show.
        pictures: In order.
        problem: Why there are none; empty where there are.
    """

    title: str
    text: str
    pictures: list[Picture] = field(default_factory=list)
    problem: str = ""


def galleries_of(run: Run, number: int = 4) -> list[Gallery]:
    """Draw all pictures of a pretraining run; none of a run that does not learn from ``SceneImages``.

    Args:
        run: The run.
        number: Photos of each kind; 0: no pictures.

    Returns:
        One gallery a section. What keeps a section from being drawn (photos that are gone, no checkpoint) stands in its
        ``problem``.
    """
    dataset = run.settings("train_dataloader", "dataset")
    if number < 1 or not str(dataset.get("type")).endswith("SceneImages"):
        return []
    config = Config(run.config, filename=str(run.config_file))
    hooks = [str(hook.get("type")).rsplit(".", 1)[-1] for hook in run.hooks]
    galleries = [_gallery(
        "Matched boxes", "What the model is fed: each photo with its two crops, and the two views with the boxes that are "
        "matched across them, before and after augmentation. Boxes of one colour show the same place.",
        lambda: _matched_boxes(config, number),
    )]  # fmt: skip
    if "SaliencyRefreshHook" in hooks:
        galleries.append(_gallery(
            "Saliency", "Where the network sees objects, from dark blue (0) to dark red (1); trust tells how much a map "
            "guides the crops.", lambda: _saliency(run, config, number),
        ))  # fmt: skip
    galleries.append(_gallery(
        "Feature colours", "The first three principal components of the last feature map of the newest checkpoint, as red, "
        "green and blue: cells of like colour have like features, in all photos together.",
        lambda: _feature_colors(run, config, number),
    ))  # fmt: skip
    return galleries


def _gallery(title: str, text: str, draw: Callable[[], Iterator[Picture]]) -> Gallery:
    from mmsscl.engine.train import build_errors_explained

    gallery = Gallery(title, text)
    try:
        with build_errors_explained():
            for picture in draw():
                gallery.pictures.append(picture)
    except InputError as error:
        gallery.problem = str(error)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OSError, AssertionError, cv2.error) as error:
        # a config of another version can fail in any of these ways; the curves are worth a page all the same
        gallery.problem = f"could not be drawn: {type(error).__name__}: {error}"
        print_log(f"report: {title}: {gallery.problem}", logger="current", level=logging.WARNING)
    return gallery


def _matched_boxes(config: Config, number: int) -> Iterator[Picture]:
    from mmsscl.visualization.browse_pairs import browse_pairs

    for index, pixels in browse_pairs(config, number):
        yield _picture(pixels, f"photo {index}")


def _saliency(run: Run, config: Config, number: int) -> Iterator[Picture]:
    from mmsscl.saliency.history import read_history, spread_indices
    from mmsscl.saliency.run_store import FILE_NAME
    from mmsscl.saliency.store import dataset_fingerprint
    from mmsscl.visualization.browse_saliency import column_of_store, columns_of_history, draw_photos, training_data

    _prepare(config)
    dataset = training_data(config)
    history, store = run.folder / SaliencyRefreshHook.HISTORY_NAME, run.folder / FILE_NAME
    if history.is_file():
        kept = read_history(history, dataset_fingerprint(dataset))
        rows = spread_indices(len(kept.indices), number)
        columns, indices = columns_of_history(kept, rows), kept.indices[rows]
        columns = [columns[position] for position in spread_indices(len(columns), _MOST_COLUMNS)]
    else:
        indices = spread_indices(len(dataset), number)
        columns = _columns_of_checkpoints(run, config, [dataset.path(int(index)) for index in indices])
        if not columns and store.is_file():
            columns = [column_of_store(str(store), "store", dataset, indices)]
    if not columns:
        raise InputError(f"{run.folder} holds neither {history.name} nor a checkpoint, so there are no maps yet.")
    for index, pixels in zip(indices, draw_photos(dataset, indices, columns, draws=0), strict=True):
        yield _picture(pixels, f"photo {index}")


def _columns_of_checkpoints(run: Run, config: Config, paths: list[str]) -> "list[MapColumn]":
    """Maps made anew, for runs without a history: from the first checkpoint to the last."""
    from mmsscl.evaluation.network_maps import build_estimator, extraction_of, load_network, photo_maps
    from mmsscl.saliency.history import spread_indices
    from mmsscl.visualization.browse_saliency import MapColumn

    extraction = extraction_of(config)
    estimator = build_estimator(extraction)
    chosen = [run.checkpoints[place] for place in spread_indices(len(run.checkpoints), _MOST_CHECKPOINTS)]
    return [
        MapColumn(file.stem, *photo_maps(load_network(config, file), estimator, extraction, paths)) for file in chosen
    ]


def _feature_colors(run: Run, config: Config, number: int) -> Iterator[Picture]:
    from mmsscl.engine.checkpoints.find_checkpoint import newest_checkpoint
    from mmsscl.evaluation.feature_network import load_feature_network
    from mmsscl.saliency.history import spread_indices
    from mmsscl.visualization.browse_saliency import training_data
    from mmsscl.visualization.report.feature_colors import photo_colors

    checkpoint = newest_checkpoint(run.folder)
    if checkpoint is None:
        raise InputError(f"{run.folder} holds no checkpoint (epoch_*.pth or iter_*.pth) yet.")
    _prepare(config)
    dataset = training_data(config)
    indices = spread_indices(len(dataset), number)
    paths = [dataset.path(int(index)) for index in indices]
    for index, pair in zip(indices, photo_colors(load_feature_network(checkpoint), paths), strict=True):
        yield _picture(beside(pair), f"photo {index}, {Path(checkpoint).name}")


def _prepare(config: Config) -> None:
    from mmengine.registry import init_default_scope

    from mmsscl.engine.pair_data import complete_pair_data

    complete_pair_data(config)
    init_default_scope(config.get("default_scope", "mmsscl"))


def _picture(pixels: np.ndarray, caption: str) -> Picture:
    if pixels.shape[1] > _MOST_WIDTH:
        pixels = enlarge(pixels, _MOST_WIDTH / pixels.shape[1])
    _, encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    address = "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
    return Picture(caption, address, (pixels.shape[1], pixels.shape[0]))
