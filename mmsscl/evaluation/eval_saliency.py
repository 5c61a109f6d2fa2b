"""Score a pretraining's saliency maps: ``mmsscl eval saliency`` and ``tools/eval_saliency.py``."""
import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mmsscl.datasets.transforms.load_saliency import partners
from mmsscl.engine.config import load_config
from mmsscl.engine.device import pick_device
from mmsscl.engine.key_value_action import KeyValueAction
from mmsscl.engine.output_folder import writable_folder
from mmsscl.errors import InputError
from mmsscl.evaluation.labelled_photos import BoxedPhotos, MaskedPhotos, boxed_photos, masked_photos
from mmsscl.evaluation.network_maps import BRANCHES, build_estimator, extraction_of, load_network, photo_maps
from mmsscl.evaluation.paired_bootstrap import difference_lines, paired_differences
from mmsscl.evaluation.saliency_quality import BoxQuality, MaskQuality
from mmsscl.saliency.baseline_maps import gaussian_map, uniform_map
from mmsscl.short_names import short_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line's arguments to a parser."""
    parser.add_argument("config", help="pretraining config")
    parser.add_argument("checkpoints", nargs="+", metavar="checkpoint", help="one or several of its checkpoints")
    parser.add_argument("--images", required=True, help="folder of photos")
    labels = parser.add_mutually_exclusive_group(required=True)
    labels.add_argument("--masks", help="folder of masks (255 on objects, else 0), named as the photos")
    labels.add_argument("--coco", metavar="JSON", help="COCO json with the objects' boxes")
    parser.add_argument("--estimator", metavar="NAME", help="default: that of the config's SaliencyRefreshHook")
    parser.add_argument("--branch", choices=BRANCHES, default="target", help="default: %(default)s, as in the refresh")
    parser.add_argument("--image-size", type=int, help="side photos are squashed to (default: the hook's, or 448)")
    parser.add_argument("--map-size", type=int, help="cells a side of the maps (default: the hook's, or 14)")
    parser.add_argument("--batch-size", type=int, help="photos at a time (default: the hook's, or 64)")
    parser.add_argument("--no-mirror", action="store_true", help="do not average with the mirrored photo's map")
    parser.add_argument("--max-images", type=int, help="score this many photos only, evenly spread")
    parser.add_argument("--device", help="default: cuda if there is one, else cpu")
    parser.add_argument("--out", metavar="JSON", help="also write the scores there")
    parser.add_argument("--cfg-options", nargs="+", action=KeyValueAction, metavar="KEY=VALUE", help="change the config")


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Score the checkpoints that ``args`` names.

    Returns:
        See :func:`eval_saliency`.

    Raises:
        InputError: a config, checkpoint, photo, mask, json, device or output that cannot be used.
    """
    if args.max_images is not None and args.max_images < 1:
        raise InputError(f"--max-images {args.max_images}: ask for at least one photo.")
    if args.out is not None and Path(args.out).is_dir():
        raise InputError(f"--out {args.out}: is a folder. Name the json file to write.")
    # what is wrong with these would else be found only after the evaluation
    device = pick_device(args.device)
    if args.out is not None:
        writable_folder(Path(args.out).parent)
    photos: MaskedPhotos | BoxedPhotos
    if args.masks is not None:
        photos = masked_photos(args.images, args.masks, args.max_images)
    else:
        photos = boxed_photos(args.images, args.coco, args.max_images)
    report = eval_saliency(
        args.config,
        args.checkpoints,
        photos,
        estimator=args.estimator,
        branch=args.branch,
        device=str(device),
        options=args.cfg_options,
        image_size=args.image_size,
        map_size=args.map_size,
        batch_size=args.batch_size,
        mirror=False if args.no_mirror else None,
    )
    if args.out is not None:
        try:
            text = json.dumps(report, indent=2, allow_nan=False) + "\n"
            Path(args.out).expanduser().write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(f"--out {args.out}: cannot be written ({error.strerror}). Choose another file.") from error
    return report


def eval_saliency(
    config: str | Path,
    checkpoints: Sequence[str | Path],
    photos: MaskedPhotos | BoxedPhotos,
    estimator: str | None = None,
    branch: str = "target",
    device: str | None = None,
    options: dict[str, Any] | None = None,
    **extraction: Any,
) -> dict[str, Any]:
    """Score the maps of checkpoints beside maps that know nothing of the photo.

    The baselines: a centred Gaussian, a constant map, and for each checkpoint its own maps exchanged between the photos,
    which tells whether they say more than where objects usually are.

    Args:
        config: path of the pretraining config.
        checkpoints: of its training.
        photos: with masks or boxes; this decides which scores there are.
        estimator: see :func:`~mmsscl.evaluation.network_maps.extraction_of`; so are ``**extraction``.
        branch: "target" or "online".
        device: default: cuda if there is one, else cpu.
        options: changes of the config.

    Returns:
        ``settings``, with ``sources``: the branch that each checkpoint's maps are of, or "backbone file"; ``images``: how
        many were scored, ``left_out``: how many show no object; ``maps``: a list of dicts with ``name``, the scores (see
        ``MaskQuality`` and ``BoxQuality``; None where no photo has one) and ``trust``, the mean of a checkpoint's maps
        (None for baselines); ``differences``: of the other checkpoints from the first, see
        :func:`~mmsscl.evaluation.paired_bootstrap.paired_differences`, None in place of nan.

    Raises:
        InputError: see :func:`main`.
    """
    loaded = load_config(config, options)
    settings = extraction_of(loaded, estimator, **extraction)
    built = build_estimator(settings)
    used = pick_device(device)
    made = []
    sources = []
    for checkpoint, name in zip(checkpoints, short_names(checkpoints), strict=True):
        network = load_network(loaded, checkpoint, branch, used)
        sources.append(network.source)
        if network.source not in BRANCHES:
            name = f"{name} ({network.source})"
        made.append((name, *photo_maps(network, built, settings, photos.paths)))
    grid = (settings.map_size, settings.map_size)
    return {
        "settings": {
            "config": str(config),
            "checkpoints": [str(checkpoint) for checkpoint in checkpoints],
            "sources": sources,
            "grid": list(grid),
            **asdict(settings),
        },
        **score_maps(made, photos),
    }


def score_maps(
    made: Sequence[tuple[str, np.ndarray, np.ndarray]], photos: MaskedPhotos | BoxedPhotos
) -> dict[str, Any]:
    """Score maps beside those that know nothing of the photo: the same ones exchanged between photos, and two baselines.

    Args:
        made: name, maps (N, s, s) and trusts (N,) of each kind of map, as ``photo_maps`` gives them; at least one kind.
        photos: the N photos, with masks or boxes.

    Returns:
        ``images``, ``left_out``, ``maps`` and ``differences`` of :func:`eval_saliency`.

    Raises:
        InputError: no photo shows an object, or a mask that cannot be used.
    """
    candidates: list[tuple[str, np.ndarray, float | None]] = []
    for name, maps, trust in made:
        candidates.append((name, maps, float(trust.mean())))
        if len(maps) > 1:
            candidates.append((f"{name}, shuffled", maps[partners(len(maps), seed=0)], None))
    grid = (made[0][1].shape[1], made[0][1].shape[2])
    for name, baseline in (("centred Gaussian", gaussian_map(grid)), ("uniform", uniform_map(grid))):
        candidates.append((name, np.broadcast_to(baseline, (len(photos.paths), *grid)), None))
    meters = _score([maps for _, maps, _ in candidates], photos)
    if meters[0].images == 0:
        raise InputError(f"none of the {len(photos.paths)} photos shows an object. Give masks or boxes of objects.")
    meter_of = {name: meter for (name, _, _), meter in zip(candidates, meters, strict=True)}
    differences = paired_differences({name: meter_of[name].rows() for name, _, _ in made}, meters[0].scores)
    return {
        "images": meters[0].images,
        "left_out": meters[0].left_out,
        "maps": [
            {"name": name, **_without_nan(meter.compute()), "trust": trust}
            for (name, _, trust), meter in zip(candidates, meters, strict=True)
        ],
        "differences": [
            row | {"scores": {name: _without_nan(score) for name, score in row["scores"].items()}} for row in differences
        ],
    }


def format_report(report: dict[str, Any]) -> str:
    """The scores as one table, a row a kind of map."""
    columns = [key for key in report["maps"][0] if key != "name"]
    width = max(len(row["name"]) for row in report["maps"])
    lines = [" " * width + "".join(f"{column:>13}" for column in columns)]
    for row in report["maps"]:
        figures = ("-" if row[column] is None else f"{row[column]:.4f}" for column in columns)
        lines.append(f"{row['name']:<{width}}" + "".join(f"{figure:>13}" for figure in figures))
    settings = report["settings"]
    sources = ", ".join(dict.fromkeys(settings["sources"]))
    lines.append(
        f"{report['images']} photos ({report['left_out']} without an object left out), {settings['estimator']['type']}, "
        f"{sources}, {settings['image_size']} px, {settings['grid'][0]} x {settings['grid'][1]} maps"
    )
    if "mae" in columns:
        lines.append("mae: lower is better; all others: higher. Compare with shuffled and Gaussian.")
    else:
        lines.append("corloc, corloc_part, mass_inside: higher is better. Compare with shuffled and Gaussian.")
    lines += ["", *difference_lines(report["differences"], columns[:-1])] if report["differences"] else []
    return "\n".join(lines)


def _score(kinds: Sequence[np.ndarray], photos: MaskedPhotos | BoxedPhotos) -> Sequence[MaskQuality | BoxQuality]:
    """One meter for each kind of map; a photo's mask is read once for all."""
    if isinstance(photos, MaskedPhotos):
        meters = [MaskQuality() for _ in kinds]
        for index in range(len(photos.paths)):
            mask = photos.mask(index)
            for meter, maps in zip(meters, kinds, strict=True):
                meter.update(maps[index], mask)
        return meters
    boxed = [BoxQuality() for _ in kinds]
    for index, (boxes, size) in enumerate(zip(photos.boxes, photos.sizes, strict=True)):
        for each, maps in zip(boxed, kinds, strict=True):
            each.update(maps[index], boxes, size)
    return boxed


def _without_nan(scores: dict[str, float]) -> dict[str, float | None]:
    """JSON knows no NaN."""
    return {name: None if math.isnan(value) else value for name, value in scores.items()}
