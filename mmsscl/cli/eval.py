"""``mmsscl eval knn | linear | svm | regions | saliency``: scores of a frozen backbone, without training one."""
import argparse
from functools import partial

from mmsscl.cli.common_arguments import add_allow_pickle
from mmsscl.cli.verb_parser import SubVerb, add_sub_verbs

HELP = "score a frozen backbone: by nearest neighbours, linear classifiers, regions found again, saliency maps"
EXAMPLES = """examples:
  mmsscl eval knn backbone.pth --train photos/train --val photos/val
  mmsscl eval regions work_dirs/byol/epoch_200.pth work_dirs/scrl/epoch_200.pth --images photos/ --random"""
KNN = """examples:
  mmsscl eval knn backbone.pth --train photos/train --val photos/val --k 1 20 200
  mmsscl eval knn byol/epoch_200.pth scrl/epoch_200.pth --random --cache features --train ... --val ..."""
LINEAR = """examples:
  mmsscl eval linear backbone.pth --train photos/train --val photos/val
  the published protocols, which train for epochs: mmsscl train configs/classify/..."""
SVM = """examples:
  mmsscl eval svm backbone.pth --train voc07_trainval.json --val voc07_test.json --images VOC2007/JPEGImages \\
      --shots 1 2 4 8 16
  mmsscl eval svm backbone.pth --train photos/train --val photos/val"""
REGIONS = """examples:
  mmsscl eval regions work_dirs/byol/epoch_200.pth work_dirs/scrl/epoch_200.pth --images photos/ --random
  mmsscl eval regions scrl_backbone.pth --images coco/val2017 \\
      --coco coco/annotations/instances_val2017.json --out scores.json"""
SALIENCY = """examples:
  mmsscl eval saliency configs/sgcl_r50_coco.py epoch_100.pth epoch_200.pth --images ecssd/images --masks ecssd/masks
  mmsscl eval saliency configs/scrl_r50_coco.py epoch_200.pth --estimator GeodesicSaliency \\
      --images coco/val2017 --coco coco/annotations/instances_val2017.json --out scores.json"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_sub_verbs(parser, {
        "knn": _of_features("knn", "classify photos by their nearest neighbours among the features of labelled ones", KNN),
        "linear": _of_features("linear", "classify photos by a logistic regression on frozen features, in seconds", LINEAR),
        "svm": _of_features(
            "svm", "classify photos by linear SVMs on frozen features, from few labels too (VOC07's protocol)", SVM
        ),
        "regions": SubVerb(
            "score how well features find a region of a photo in another view of it, beside controls", REGIONS,
            _regions_arguments, _regions,
        ),
        "saliency": SubVerb(
            "score saliency maps on photos with masks or boxes, beside baselines", SALIENCY, _saliency_arguments, _saliency
        ),
    })  # fmt: skip


def _of_features(measure: str, help_text: str, examples: str) -> SubVerb:
    return SubVerb(help_text, examples, partial(_feature_arguments, measure), partial(_features, measure))


def _feature_arguments(measure: str, parser: argparse.ArgumentParser) -> None:
    from mmsscl.evaluation import eval_features

    eval_features.add_arguments(parser, measure)
    add_allow_pickle(parser)


def _features(measure: str, options: argparse.Namespace) -> int:
    from mmsscl.evaluation import eval_features

    print(eval_features.table(eval_features.main(options, measure)))
    return 0


def _regions_arguments(parser: argparse.ArgumentParser) -> None:
    from mmsscl.evaluation import eval_regions

    eval_regions.add_arguments(parser)
    add_allow_pickle(parser)


def _regions(options: argparse.Namespace) -> int:
    from mmsscl.evaluation import eval_regions

    print(eval_regions.format_report(eval_regions.main(options)))
    return 0


def _saliency_arguments(parser: argparse.ArgumentParser) -> None:
    from mmsscl.evaluation import eval_saliency

    eval_saliency.add_arguments(parser)
    add_allow_pickle(parser)


def _saliency(options: argparse.Namespace) -> int:
    from mmsscl.evaluation import eval_saliency

    print(eval_saliency.format_report(eval_saliency.main(options)))
    return 0
