"""``mmsscl browse pairs | saliency``: pictures of what goes into a pretraining, and of what it sees."""
import argparse

from mmsscl.cli.common_arguments import add_allow_pickle
from mmsscl.cli.verb_parser import SubVerb, add_sub_verbs

HELP = "draw what a pretraining sees: pairs of views with their matched boxes, or saliency maps"
EXAMPLES = """examples:
  mmsscl browse pairs configs/scrl_r50_coco.py
  mmsscl browse saliency configs/sgcl_r50_coco.py work_dirs/sgcl_r50_coco/epoch_100.pth"""
PAIRS_EXAMPLES = """example:
  mmsscl browse pairs configs/scrl_r50_coco.py"""
SALIENCY_EXAMPLES = """examples:
  mmsscl browse saliency configs/sgcl_r50_coco.py work_dirs/sgcl_r50_coco/epoch_100.pth work_dirs/sgcl_r50_coco/epoch_200.pth
  mmsscl browse saliency configs/sgcl_r50_coco.py --history work_dirs/sgcl_r50_coco/saliency_history.npz
  mmsscl browse saliency configs/scrl_r50_coco.py epoch_200.pth --estimator GeodesicSaliency --images photos/"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_sub_verbs(parser, {
        "pairs": SubVerb(
            "draw pairs of views with their matched boxes", PAIRS_EXAMPLES, _pairs_arguments, _pairs
        ),
        "saliency": SubVerb(
            "draw saliency maps, their evolution over refreshes or checkpoints, and where crops fall", SALIENCY_EXAMPLES,
            _saliency_arguments, _saliency,
        ),
    })  # fmt: skip


def _pairs_arguments(parser: argparse.ArgumentParser) -> None:
    from mmsscl.visualization import browse_pairs

    browse_pairs.add_arguments(parser)


def _pairs(options: argparse.Namespace) -> int:
    from mmsscl.visualization import browse_pairs

    return int(browse_pairs.main(options) or 0)


def _saliency_arguments(parser: argparse.ArgumentParser) -> None:
    from mmsscl.visualization import browse_saliency

    browse_saliency.add_arguments(parser)
    add_allow_pickle(parser)


def _saliency(options: argparse.Namespace) -> int:
    from mmsscl.visualization import browse_saliency

    return int(browse_saliency.main(options) or 0)
