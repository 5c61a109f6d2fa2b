"""``mmsscl export``."""
import argparse
import dataclasses
import json
from pathlib import Path

from mmsscl.cli.common_arguments import add_allow_pickle

HELP = "write the backbone of a pretraining checkpoint as a file for mmdet and mmpretrain"
EXAMPLES = """example:
  mmsscl export work_dirs/scrl_r50_coco/epoch_200.pth backbone.pth
  then in an mmdet config: model = dict(backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="backbone.pth")))"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("checkpoint", help="a pretraining checkpoint (epoch_*.pth, iter_*.pth)")
    parser.add_argument("output", help="the file to write")
    parser.add_argument(
        "--branch", choices=["online", "target"], default="online", help="trained by gradients, or its moving average"
    )
    parser.add_argument("--report", help="also write what was exported (path, matched, keys, sha256) as json")
    add_allow_pickle(parser)


def run(options: argparse.Namespace) -> int:
    """Export, and print what was matched."""
    from mmsscl.zoo.export import export_backbone

    report = export_backbone(options.checkpoint, options.output, branch=options.branch)
    if options.report:
        Path(options.report).write_text(json.dumps(dataclasses.asdict(report), indent=2) + "\n", encoding="utf-8")
    print(f"{report.path}: {report.matched} of {report.keys} keys, sha256 {report.sha256[:8]}")
    return 0
