"""Classify photos by the features of frozen backbones: ``mmsscl eval knn | linear | svm``."""
import argparse
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmsscl.atomic_file import atomic_file
from mmsscl.engine.device import pick_device
from mmsscl.engine.output_folder import writable_folder
from mmsscl.errors import InputError
from mmsscl.evaluation.classified_photos import ClassifiedPhotos, labelled_folder, labelled_json, require_same_classes
from mmsscl.evaluation.feature_network import FeatureNetwork, load_feature_network, random_feature_network
from mmsscl.evaluation.features import FeatureSettings, extract_features
from mmsscl.evaluation.knn import top_hits, weighted_knn
from mmsscl.evaluation.linear_classifiers import (
    LOGISTIC_COSTS,
    few_shots,
    logistic_scores,
    svm_scores,
    voc_average_precision,
)
from mmsscl.evaluation.paired_bootstrap import difference_lines, paired_differences
from mmsscl.short_names import short_names
from mmsscl.version import __version__

MEASURES = ("knn", "linear", "svm")


def add_arguments(parser: argparse.ArgumentParser, measure: str) -> None:
    """Add the command line's arguments to a parser.

    Args:
        parser: The verb's.
        measure: One of ``MEASURES``.
    """
    parser.add_argument("checkpoints", nargs="+", metavar="checkpoint", help="of pretraining, or files of mmsscl export")
    what = "a folder with a folder of photos for each class" + (", or a COCO json" if measure == "svm" else "")
    parser.add_argument("--train", required=True, metavar="PATH", help=f"labelled photos to learn from: {what}")
    parser.add_argument("--val", required=True, metavar="PATH", help="photos to be classified, likewise")
    if measure == "svm":
        parser.add_argument("--images", metavar="FOLDER", help="of the photos that jsons name (default: the json's folder)")
        parser.add_argument("--shots", type=int, nargs="*", default=[], metavar="N", help="also learn from N photos a class")
        parser.add_argument("--trials", type=int, default=5, help="draws of these photos (default: %(default)s)")
    if measure == "linear":
        parser.add_argument(
            "--costs", type=float, nargs="+", default=list(LOGISTIC_COSTS), metavar="COST",
            help="inverse strengths of the L2 penalty to choose from by held-out photos; one, for an equal footing of "
            "several checkpoints, is taken as it is (default: 1 to 10000 by tens)",
        )  # fmt: skip
    if measure == "knn":
        parser.add_argument("--k", type=int, nargs="+", default=[20], help="neighbours (default: 20)")
        parser.add_argument("--temperature", type=float, default=0.07, help="of their weights (default: %(default)s)")
    parser.add_argument("--random", action="store_true", help="also score random weights of the first checkpoint's backbone")
    parser.add_argument("--branch", choices=["online", "target"], help="of training checkpoints (default: online)")
    parser.add_argument("--config", help="for other weights: a config whose backbone and normalisation are used")
    parser.add_argument("--stage", type=int, help="features of this stage, as in out_indices (default: the last)")
    parser.add_argument("--size", type=int, default=224, help="side of the middle square (default: %(default)s)")
    parser.add_argument("--short-side", type=int, help="what photos are resized to before (default: 256/224 of the size)")
    parser.add_argument("--cache", metavar="FOLDER", help="keep features there, by the hash of the checkpoint")
    parser.add_argument("--batch-size", type=int, default=64, help="photos at a time (default: %(default)s)")
    parser.add_argument("--num-workers", type=int, default=0, help="processes that read photos (default: none)")
    parser.add_argument("--device", help="default: cuda if there is one, else cpu")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default: %(default)s)")
    parser.add_argument("--out", metavar="JSON", help="also write the scores there")


def main(args: argparse.Namespace, measure: str) -> dict[str, Any]:
    """Score the checkpoints that ``args`` names.

    Args:
        args: See :func:`add_arguments`.
        measure: One of ``MEASURES``.

    Returns:
        ``scores``: of each checkpoint, by name, the scores in percent by name; ``differences`` from the first one, see
        :func:`~mmsscl.evaluation.paired_bootstrap.paired_differences`, none for "svm" (its average precisions are no sums
        over photos); and what they were made with.

    Raises:
        InputError: A checkpoint, folder, json or option that cannot be used.
    """
    if args.out is not None:
        if Path(args.out).is_dir():
            raise InputError(f"--out {args.out}: is a folder. Name the json file to write.")
        writable_folder(Path(args.out).parent)
    if args.cache is not None:
        writable_folder(args.cache, "--cache")
    if args.batch_size < 1 or args.num_workers < 0:
        raise InputError(f"--batch-size {args.batch_size}, --num-workers {args.num_workers}: from 1, and from 0.")
    settings = FeatureSettings(args.size, args.short_side)
    device = pick_device(args.device)
    read = partial(_photos, images=args.images) if measure == "svm" else labelled_folder
    train, val = (read(path) for path in (args.train, args.val))
    require_same_classes(train, val, args.train, args.val)
    score = {"knn": _knn, "linear": _linear, "svm": _svm}[measure](train, val, args)
    report: dict[str, Any] = {
        "measure": measure, "train": len(train.paths), "val": len(val.paths), "classes": len(train.classes), "scores": {},
        "settings": {key: value for key, value in vars(args).items() if key not in ("run", "verb", "checkpoints")},
        "versions": {"mmsscl": __version__, "torch": torch.__version__}, "device": str(device),
    }  # fmt: skip
    hits: dict[str, np.ndarray] = {}
    columns: list[str] = []
    for name, network in _networks(args, device):
        features, queries = (
            extract_features(network, photos.paths, settings, args.cache, args.batch_size, args.num_workers)
            for photos in (train, val)
        )
        report["scores"][name], found = score(features, queries)
        columns = list(found)
        hits[name] = np.stack([*found.values(), np.ones(len(val.paths))], axis=1)
    report["differences"] = paired_differences(hits, partial(_percents, columns)) if columns else []
    if args.out is not None:
        with atomic_file(args.out) as file:
            file.write((json.dumps(report, indent=1, default=str) + "\n").encode())
    return report


def table(report: dict[str, Any]) -> str:
    """The scores of a report of :func:`main` as lines."""
    names = list(report["scores"])
    columns = list(report["scores"][names[0]])
    width = max(len("checkpoint"), *map(len, names))
    lines = [f"{'checkpoint':{width}}" + "".join(f"{column:>14}" for column in columns)]
    for name in names:
        lines.append(f"{name:{width}}" + "".join(f"{report['scores'][name][column]:14.2f}" for column in columns))
    counts = f"{report['train']} labelled photos, {report['val']} classified, {report['classes']} classes"
    about = f"{report['measure']}: {counts}"
    if report["differences"]:
        lines += ["", *difference_lines(report["differences"], list(report["differences"][0]["scores"]), decimals=2)]
    return "\n".join([about, *lines])


def _percents(columns: list[str], sums: np.ndarray) -> dict[str, np.ndarray]:
    return {column: 100 * sums[..., place] / sums[..., -1] for place, column in enumerate(columns)}


def _networks(args: argparse.Namespace, device: torch.device) -> Iterator[tuple[str, FeatureNetwork]]:
    if args.random:
        yield "random weights", random_feature_network(args.checkpoints[0], args.seed, args.stage, device)
    for name, checkpoint in zip(short_names(args.checkpoints), args.checkpoints):
        yield name, load_feature_network(checkpoint, args.branch, args.config, args.stage, device)


def _photos(path: str, images: str | None) -> ClassifiedPhotos:
    if not path.endswith(".json"):
        return labelled_folder(path)
    return labelled_json(path, os.path.dirname(os.path.abspath(path)) if images is None else images)


# features to learn from and to classify -> figures, and of those that are shares of the photos who is right
_Score = Callable[[np.ndarray, np.ndarray], tuple[dict[str, float], dict[str, np.ndarray]]]


def _knn(train: ClassifiedPhotos, val: ClassifiedPhotos, args: argparse.Namespace) -> _Score:
    labels, wanted = torch.from_numpy(train.labels), torch.from_numpy(val.labels)
    for k in args.k:  # found out before the features are made
        weighted_knn(torch.eye(1).expand(len(labels), 1), labels, torch.ones(1, 1), len(train.classes), k, args.temperature)

    def score(features: np.ndarray, queries: np.ndarray) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        hits = {}
        for k in args.k:
            bank, asked = torch.from_numpy(features), torch.from_numpy(queries)
            votes = weighted_knn(bank, labels, asked, len(train.classes), k, args.temperature)
            for top in (1, 5):
                hits[f"k={k} top-{top}"] = top_hits(votes, wanted, top).numpy()
        return _shares(hits), hits

    return score


def _linear(train: ClassifiedPhotos, val: ClassifiedPhotos, args: argparse.Namespace) -> _Score:
    wrong = [cost for cost in args.costs if not 0 < cost < float("inf")]
    if wrong:
        raise InputError(f"--costs {wrong[0]:g}: give numbers above 0.")
    labels, wanted = train.labels, torch.from_numpy(val.labels)

    def score(features: np.ndarray, queries: np.ndarray) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        scores, cost = logistic_scores(features, labels, queries, args.costs, args.seed)
        hits = {f"top-{top}": top_hits(torch.from_numpy(scores), wanted, top).numpy() for top in (1, 5)}
        return {**_shares(hits), "cost": cost}, hits

    return score


def _shares(hits: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: 100 * float(right.mean()) for name, right in hits.items()}


def _svm(train: ClassifiedPhotos, val: ClassifiedPhotos, args: argparse.Namespace) -> _Score:
    if args.trials < 1:
        raise InputError(f"--trials {args.trials}: draw at least once.")
    for kind, path, photos in (("train", args.train, train), ("val", args.val, val)):
        absent = [name for name, count in zip(photos.classes, photos.targets.sum(0).tolist()) if not count]
        if absent:
            raise InputError(f"--{kind} {path}: no photo shows {absent[0]!r}. Take a split that holds every class.")
    draws = {shots: [few_shots(train.targets, shots, np.random.default_rng((args.seed, trial, shots)))
                     for trial in range(args.trials)] for shots in args.shots}  # fmt: skip

    def precision(features: np.ndarray, targets: np.ndarray, queries: np.ndarray) -> float:
        scores, _ = svm_scores(features, targets, queries, seed=args.seed)
        return float(np.mean([voc_average_precision(scores[:, label], val.targets[:, label])
                              for label in range(targets.shape[1])]))  # fmt: skip

    def score(features: np.ndarray, queries: np.ndarray) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        found = {"mAP": precision(features, train.targets, queries)}
        for shots, rows in draws.items():
            found[f"{shots}-shot mAP"] = float(np.mean([precision(features[r], train.targets[r], queries) for r in rows]))
        return found, {}

    return score
