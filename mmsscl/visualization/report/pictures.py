"""The pictures of a report, drawn from a run's config, photos, maps and newest checkpoint."""
import base64
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
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
    from mmsscl.datasets.scene_images import SceneImages
    from mmsscl.visualization.browse_saliency import MapColumn

_MOST_WIDTH = 1400
_MOST_COLUMNS = 6
_MOST_CHECKPOINTS = 3
_MOST_DAMAGED = 20
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
        problem: Why there are none, or not all; empty where there are.
        notes: What was left out.
    """

    title: str
    text: str
    pictures: list[Picture] = field(default_factory=list)
    problem: str = ""
    notes: list[str] = field(default_factory=list)


def galleries_of(run: Run, number: int = 4) -> list[Gallery]:
    """Draw all pictures of a pretraining run; for another run, a gallery says why there are none.

    Args:
        run: The run.
        number: Photos of each kind; 0: no pictures.

    Returns:
        One gallery a section. What keeps a section from being drawn (photos that are gone, no checkpoint) stands in its
        ``problem``.
    """
    dataset = run.settings("train_dataloader", "dataset")
    reason = ""
    if number < 1:
        reason = "--photos 0"
    elif run.config.problem:
        reason = run.config.problem.rstrip(".")
    elif not str(dataset.get("type")).endswith("SceneImages"):
        reason = "the run learns from other data than SceneImages"
    if reason:
        return [Gallery("Pictures", f"No matched boxes, saliency and feature colours: {reason}.")]
    config = Config(run.config.values, filename=str(run.config.file))
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
    else:
        galleries.append(Gallery("Saliency", "None: the run has no SaliencyRefreshHook."))
    galleries.append(_gallery(
        "Feature colours", "The first three principal components of the last feature map of the newest checkpoint, as red, "
        "green and blue: cells of like colour have like features, in all photos together.",
        lambda: _feature_colors(run, config, number),
    ))  # fmt: skip
    return galleries


def _gallery(title: str, text: str, draw: Callable[[], Iterator[Picture | str]]) -> Gallery:
    """Take the pictures, and the notes between them."""
    from mmsscl.engine.train import build_errors_explained

    gallery = Gallery(title, text)
    try:
        with build_errors_explained():
            for drawn in draw():
                if isinstance(drawn, str):
                    gallery.notes.append(drawn)
                else:
                    gallery.pictures.append(drawn)
    except InputError as error:
        gallery.problem = str(error)
    except (
        LookupError, TypeError, ValueError, AttributeError, RuntimeError, OSError, AssertionError, ImportError, MemoryError,
        cv2.error,
    ) as error:  # fmt: skip
        # a config of another version can fail in any of these ways; the curves are worth a page all the same
        gallery.problem = f"could not be drawn: {type(error).__name__}: {error}"
        print_log(f"report: {title}: {gallery.problem}", logger="current", level=logging.WARNING)
    return gallery


def _matched_boxes(config: Config, number: int) -> Iterator[Picture | str]:
    from mmsscl.visualization.browse_pairs import browse_pairs
    from mmsscl.visualization.browse_saliency import training_data

    _prepare(config)
    dataset = training_data(config)
    indices, notes = _readable(dataset, np.arange(len(dataset)), number)
    yield from notes
    for index, pixels in browse_pairs(config, indices=indices):
        yield _picture(pixels, f"photo {index}")


def _saliency(run: Run, config: Config, number: int) -> Iterator[Picture | str]:
    from mmsscl.saliency.history import read_history, spread_indices
    from mmsscl.saliency.run_store import FILE_NAME
    from mmsscl.saliency.store import dataset_fingerprint
    from mmsscl.visualization.browse_saliency import column_of_store, columns_of_history, draw_photos, training_data

    _prepare(config)
    dataset = training_data(config)
    history, store = run.folder / SaliencyRefreshHook.HISTORY_NAME, run.folder / FILE_NAME
    older = history.is_file() and f"{datetime.fromtimestamp(history.stat().st_mtime):%Y%m%d_%H%M%S}" < run.began
    if older:
        yield f"{history.name} is of an earlier run in this folder, and left out."
    if history.is_file() and not older:
        kept = read_history(history, dataset_fingerprint(dataset))
        indices, notes = _readable(dataset, kept.indices, number)
        columns = columns_of_history(kept, np.searchsorted(kept.indices, indices))
        columns = [columns[position] for position in spread_indices(len(columns), _MOST_COLUMNS)]
    else:
        indices, notes = _readable(dataset, np.arange(len(dataset)), number)
        files, left = _own_checkpoints(run)
        notes += left
        columns = _columns_of_checkpoints(files, config, [dataset.path(int(index)) for index in indices])
        if not columns and store.is_file():
            columns = [column_of_store(str(store), "store", dataset, indices)]
    yield from notes
    if not columns:
        raise InputError(f"{run.folder}: holds neither {history.name} nor a checkpoint of this run, so no maps yet.")
    for index, pixels in zip(indices, draw_photos(dataset, indices, columns, draws=0), strict=True):
        yield _picture(pixels, f"photo {index}")


def _columns_of_checkpoints(files: list[Path], config: Config, paths: list[str]) -> "list[MapColumn]":
    """Maps made anew, for runs without a history: from the first checkpoint to the last."""
    from mmsscl.evaluation.network_maps import build_estimator, extraction_of, load_network, photo_maps
    from mmsscl.saliency.history import spread_indices
    from mmsscl.visualization.browse_saliency import MapColumn

    extraction = extraction_of(config)
    estimator = build_estimator(extraction)
    chosen = [files[place] for place in spread_indices(len(files), _MOST_CHECKPOINTS)]
    return [
        MapColumn(file.stem, *photo_maps(load_network(config, file), estimator, extraction, paths)) for file in chosen
    ]


def _feature_colors(run: Run, config: Config, number: int) -> Iterator[Picture | str]:
    from mmsscl.engine.checkpoints.find_checkpoint import newest_checkpoint
    from mmsscl.evaluation.feature_network import load_feature_network
    from mmsscl.visualization.browse_saliency import training_data
    from mmsscl.visualization.report.feature_colors import photo_colors

    yield from _own_checkpoints(run)[1]
    checkpoint = newest_checkpoint(run.folder, since=run.began)
    if checkpoint is None:
        raise InputError(f"{run.folder} holds no checkpoint (epoch_*.pth or iter_*.pth) of this run yet.")
    _prepare(config)
    dataset = training_data(config)
    indices, notes = _readable(dataset, np.arange(len(dataset)), number)
    yield from notes
    paths = [dataset.path(int(index)) for index in indices]
    for index, pair in zip(indices, photo_colors(load_feature_network(checkpoint), paths), strict=True):
        yield _picture(beside(pair), f"photo {index}, {Path(checkpoint).name}")


def _own_checkpoints(run: Run) -> tuple[list[Path], list[str]]:
    """The run's checkpoints, and a note of those that an earlier run left in its folder."""
    from mmsscl.engine.checkpoints.find_checkpoint import saved_states

    states = saved_states(run.folder)
    older = [state.file for state in states if state.time and state.time < run.began]
    notes = [f"Of an earlier run in this folder, and left out: {', '.join(file.name for file in older)}."] if older else []
    return [state.file for state in states if state.file not in older], notes


def _readable(dataset: "SceneImages", candidates: np.ndarray, number: int) -> tuple[np.ndarray, list[str]]:
    """Evenly spread photos, in place of a damaged one the next that can be read; and notes of what was damaged.

    Raises:
        InputError: None of the first photos that were tried can be read.
    """
    from mmsscl.datasets.check_photos import why_unreadable
    from mmsscl.saliency.history import spread_indices

    taken: set[int] = set()
    damaged: dict[int, str] = {}
    for wanted in spread_indices(len(candidates), number):
        for position in [*range(wanted, len(candidates)), *range(wanted)]:
            if position in taken or position in damaged:
                continue
            path = dataset.path(int(candidates[position]))
            reason = why_unreadable(path)
            if reason is None:
                taken.add(position)
                break
            damaged[position] = f"{path}: {reason}"
            if len(damaged) > _MOST_DAMAGED:
                raise InputError(f"{len(damaged)} photos cannot be read, the first is {next(iter(damaged.values()))}")
    if not taken:
        raise InputError(f"no photo can be read, the first is {next(iter(damaged.values()))}")
    notes = [f"Another photo was drawn in place of {text}" for text in damaged.values()]
    return candidates[sorted(taken)], notes


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
