"""Features of labelled photos on a plane: t-SNE."""
import argparse

import numpy as np
from matplotlib.figure import Figure

from mmsscl.analysis.figure_file import check_figure_file, write_figure
from mmsscl.datasets.label_split import class_files, split_labels
from mmsscl.engine.device import pick_device
from mmsscl.errors import InputError
from mmsscl.evaluation.feature_network import load_feature_network, random_feature_network
from mmsscl.evaluation.features import FeatureSettings, extract_features
from mmsscl.visualization.canvas import distinct_colors

_MARKERS = "osD^vP*X"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line's arguments to a parser."""
    parser.add_argument("checkpoint", help="of pretraining, or a file of mmsscl export")
    parser.add_argument("--photos", required=True, metavar="FOLDER", help="holds a folder of photos for each class")
    parser.add_argument("--out", required=True, metavar="PNG", help="the picture; .svg and .pdf do as well")
    parser.add_argument("--classes", type=int, default=10, help="how many, the first by name (default: %(default)s)")
    parser.add_argument("--per-class", type=int, default=50, help="photos of each at most (default: %(default)s)")
    parser.add_argument("--perplexity", type=float, default=30.0, help="of t-SNE (default: %(default)s)")
    parser.add_argument("--random", action="store_true", help="random weights of the same backbone instead, to compare with")
    parser.add_argument("--branch", choices=["online", "target"], help="of a training checkpoint (default: online)")
    parser.add_argument("--size", type=int, default=224, help="side of the middle square (default: %(default)s)")
    parser.add_argument("--cache", metavar="FOLDER", help="keep features there, by the hash of the checkpoint")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default: %(default)s)")
    parser.add_argument("--device", help="default: cuda if there is one, else cpu")


def main(args: argparse.Namespace) -> str:
    """Draw what ``args`` asks for; returns what to tell the user.

    Raises:
        InputError: A checkpoint, folder or number that cannot be used.
    """
    file = check_figure_file(args.out)
    if args.classes < 2 or args.per_class < 1:
        raise InputError(f"--classes {args.classes} --per-class {args.per_class}: give two classes and one photo or more.")
    files = dict(list(class_files(args.photos).items())[: args.classes])
    drawn = {
        name: split_labels({name: found}, shots=min(len(found), args.per_class), seed=args.seed)[name]
        for name, found in files.items()
    }
    paths = [f"{args.photos}/{path}" for found in drawn.values() for path in found]
    _check_perplexity(args.perplexity, len(paths))
    labels = np.repeat(np.arange(len(drawn)), [len(found) for found in drawn.values()])
    device = pick_device(args.device)
    if args.random:
        network = random_feature_network(args.checkpoint, args.seed, device=device)
    else:
        network = load_feature_network(args.checkpoint, args.branch, device=device)
    features = extract_features(network, paths, FeatureSettings(args.size), args.cache)
    places = tsne(features, args.perplexity, args.seed)
    figure = draw_places(places, labels, list(drawn), f"{network.name}, {len(paths)} photos")
    write_figure(figure, file)
    return f"{file}: {len(paths)} photos of {len(drawn)} classes"


def tsne(features: np.ndarray, perplexity: float = 30.0, seed: int = 0) -> np.ndarray:
    """Places on a plane where photos of like features lie together; distances between far groups mean nothing.

    Features are brought to length one, so that the cosine decides, as in the nearest neighbours of ``mmsscl eval knn``. The
    first two principal components are the start.

    Args:
        features: float (photos, channels).
        perplexity: About how many neighbours a photo has; above 0 and below the number of photos.
        seed: Of sklearn's descent.

    Returns:
        float32 (photos, 2).

    Raises:
        InputError: A perplexity out of its range.
    """
    from sklearn.manifold import TSNE

    _check_perplexity(perplexity, len(features))
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(lengths, np.finfo(np.float32).tiny)
    places: np.ndarray = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(unit)
    return places.astype(np.float32)


def _check_perplexity(perplexity: float, count: int) -> None:
    if not 0 < perplexity < count:
        raise InputError(f"--perplexity {perplexity:g}: must lie above 0 and below the number of photos, {count}.")


def draw_places(places: np.ndarray, labels: np.ndarray, classes: list[str], title: str) -> Figure:
    """A dot a photo, a color and shape a class."""
    figure = Figure(figsize=(8.5, 6), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, color) in enumerate(zip(classes, distinct_colors(len(classes)) / 255, strict=True)):
        own = places[labels == number]
        marker = _MARKERS[number % len(_MARKERS)]
        axes.scatter(own[:, 0], own[:, 1], s=22, color=color, marker=marker, label=name, linewidth=0.3, edgecolor="black")
    axes.set(title=title, xticks=[], yticks=[])
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5), ncols=1 + len(classes) // 26)
    return figure
