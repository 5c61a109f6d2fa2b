"""``mmsscl predict``."""
import argparse

from mmsscl.cli.common_arguments import add_allow_pickle

HELP = "draw a fine-tuned detector's predictions on a folder of photos"
EXAMPLES = """example:
  mmsscl predict CONFIG CHECKPOINT photos/"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from mmsscl.visualization import predict

    predict.add_arguments(parser)
    add_allow_pickle(parser)


def run(options: argparse.Namespace) -> int:
    """Draw the predictions."""
    from mmsscl.visualization import predict

    return int(predict.main(options) or 0)
