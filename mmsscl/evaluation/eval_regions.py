"""How well features know regions, as a command: ``mmsscl eval regions`` and ``tools/eval_regions.py``."""
import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmsscl.atomic_file import atomic_file
from mmsscl.datasets.listed_photos import listed_photos
from mmsscl.engine.device import pick_device
from mmsscl.engine.output_folder import writable_folder
from mmsscl.errors import InputError
from mmsscl.evaluation.feature_network import load_feature_network, random_feature_network
from mmsscl.evaluation.labelled_photos import boxed_photos, spread
from mmsscl.evaluation.network_maps import BRANCHES
from mmsscl.evaluation.paired_bootstrap import difference_lines
from mmsscl.evaluation.region_pairs import PairSettings
from mmsscl.evaluation.region_quality import SCORES, SIZES, region_quality
from mmsscl.short_names import short_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line's arguments to a parser."""
    parser.add_argument("checkpoints", nargs="+", metavar="checkpoint", help="of training or of export; any with --config")
    parser.add_argument("--images", required=True, help="photos: a folder, a list, a json or tar files")
    parser.add_argument("--root", help="what the paths in a list or json are relative to (default: its folder)")
    parser.add_argument("--coco", metavar="JSON", help="boxes of objects in --images, a folder: score CorLoc on them too")
    parser.add_argument("--random", action="store_true", help="add the first checkpoint's backbone with random weights")
    parser.add_argument("--branch", choices=BRANCHES, help="of training checkpoints (default: online)")
    parser.add_argument("--config", help="for checkpoints that do not tell their backbone: a config with one")
    parser.add_argument("--stage", type=int, help="stage of the backbone, from 0 (default: its last)")
    parser.add_argument("--max-images", type=int, default=500, help="photos, evenly spread (default: %(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side of the views in pixels (default: %(default)s)")
    parser.add_argument("--boxes", type=int, default=10, help="regions a photo (default: %(default)s)")
    parser.add_argument("--min-size", type=int, default=32, help="least side of a box in view pixels (default: %(default)s)")
    parser.add_argument("--same-iou", type=float, default=0.5, help="boxes that overlap the right one by more than this IoU "
                        "are no candidates (default: %(default)s)")  # fmt: skip
    parser.add_argument("--aligned", action="store_true", help="pool with RoIAlign's half-pixel shift: for backbones whose "
                        "cells lie in the middle of their patches (ViT, Swin, ConvNeXt), not for ResNets")  # fmt: skip
    parser.add_argument("--no-distortion", action="store_true", help="leave the views' colors as they are")
    parser.add_argument("--corloc-size", type=int, help="side photos are squashed to for CorLoc (default: --size)")
    parser.add_argument("--seed", type=int, default=0, help="of views and boxes (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="photos at a time (default: %(default)s)")
    parser.add_argument("--device", help="default: cuda if there is one, else cpu")
    parser.add_argument("--out", metavar="JSON", help="also write the scores there")


def main(args: argparse.Namespace) -> dict[str, Any]:
    """Score the checkpoints that ``args`` names.

    Returns:
        See :func:`~mmsscl.evaluation.region_quality.region_quality`.

    Raises:
        InputError: a checkpoint, photo, json, setting, device or output that cannot be used.
    """
    if args.max_images < 1:
        raise InputError(f"--max-images {args.max_images}: ask for at least one photo.")
    if args.coco is not None and args.root is not None:
        raise InputError("--root: with --coco, --images is the folder that the json's paths are relative to. Leave it out.")
    device = pick_device(args.device)
    if args.out is not None:
        if Path(args.out).is_dir():
            raise InputError(f"--out {args.out}: is a folder. Name the json file to write.")
        writable_folder(Path(args.out).expanduser().parent)
    boxed = None if args.coco is None else boxed_photos(args.images, args.coco, args.max_images)
    paths = boxed.paths if boxed else spread(listed_photos(args.images, args.root), args.max_images)
    networks = {}
    for name, checkpoint in zip(short_names(args.checkpoints), args.checkpoints, strict=True):
        networks[name] = load_feature_network(checkpoint, args.branch, args.config, args.stage, device)
    if args.random:
        random = random_feature_network(args.checkpoints[0], stage=args.stage, device=device)
        networks = {random.name: random} | networks
    pairs = PairSettings(args.size, args.boxes, args.min_size, args.seed, not args.no_distortion, args.batch_size)
    report = region_quality(networks, paths, pairs, args.same_iou, args.aligned, boxed, args.corloc_size)
    if args.out is not None:
        try:
            with atomic_file(Path(args.out).expanduser()) as file:
                file.write((json.dumps(report, indent=2, allow_nan=False) + "\n").encode())
        except OSError as error:
            raise InputError(f"--out {args.out}: cannot be written ({error.strerror}). Choose another file.") from error
    return report


def format_report(report: dict[str, Any]) -> str:
    """The scores as tables, a row a network or control."""
    rows, among = report["rows"], ("photo", "all")
    scores = [(row["name"], [row[where][score] for where in among for score in SCORES]) for row in rows]
    lines = _table([f"{where} {score}" for where in among for score in SCORES], scores)
    scores = [(row["name"], [row["sizes"][size][where] for where in among for size in SIZES]) for row in rows]
    lines += ["", "top1 by size of the region:"]
    lines += _table([f"{where} {size}" for where in among for size in SIZES], scores)
    settings = report["settings"]
    counts = ", ".join(f"{figures['queries']} {size}" for size, figures in rows[0]["sizes"].items())
    lines += [
        "",
        f"{report['queries']} regions ({counts}) of {report['photos']} photos ({report['left_out']} without one left out), "
        f"views of {settings['size']} px, colors {'distorted' if settings['photometric'] else 'as they are'}, "
        f"seed {settings['seed']}",
        "photo: looked for among the regions of its own photo; all: among those of all photos. Compare with the controls.",
    ]
    if report["differences"]:
        lines += ["", *difference_lines(report["differences"], [f"{where} top1" for where in among])]
    if report["corloc"] is not None:
        maps = report["corloc"]["maps"]
        columns = [key for key in maps[0] if key not in ("name", "trust")]
        lines += ["", f"GeodesicSaliency of {report['corloc']['images']} photos with objects:"]
        lines += _table(columns, [(row["name"], [row[column] for column in columns]) for row in maps])
        if report["corloc"]["differences"]:
            lines += ["", *difference_lines(report["corloc"]["differences"], columns)]
    return "\n".join(lines)


def _table(header: Sequence[str], rows: Sequence[tuple[str, list[float | None]]]) -> list[str]:
    width = max(len(name) for name, _ in rows)
    lines = [" " * width + "".join(f"{column:>14}" for column in header)]
    for name, values in rows:
        lines.append(f"{name:<{width}}" + "".join(f"{'-' if value is None else f'{value:.4f}':>14}" for value in values))
    return lines
