"""``mmsscl test``."""
import argparse
import os

from mmsscl.cli.common_arguments import add_allow_pickle, add_run_arguments, tell_local_rank

HELP = "evaluate a transfer or classification config on a checkpoint"
EXAMPLES = """example:
  mmsscl test configs/transfer/mask_rcnn_r50_fpn_syncbn_1x_coco.py work_dirs/mask_rcnn/epoch_12.pth --out metrics.json"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("config", help="a config of configs/transfer/ or configs/classify/")
    parser.add_argument("checkpoint", help="a checkpoint of that config's training")
    parser.add_argument("--out", help="where the metrics go as json (default: metrics.json in the work dir)")
    add_run_arguments(parser)
    add_allow_pickle(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate, and print the metrics."""
    tell_local_rank(options)
    from mmsscl.engine.evaluate import evaluate

    metrics = evaluate(
        options.config,
        options.checkpoint,
        work_dir=options.work_dir,
        output=options.out,
        options=options.cfg_options,
        launcher=options.launcher,
    )
    if os.environ.get("RANK", "0") == "0":
        for name, value in metrics.items():
            print(f"{name}: {value:.4f}")
    return 0
