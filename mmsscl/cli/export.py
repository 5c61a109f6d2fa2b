"""``mmsscl export``."""

import argparse
from pathlib import Path
from typing import Any

from mmsscl.cli.common_arguments import add_allow_pickle

HELP = "write the backbone of a checkpoint, ours or another project's, as a file for a library"
EXAMPLES = """examples:
  mmsscl export work_dirs/scrl_r50_coco/epoch_200.pth backbone.pth
  then in an mmdet config: model = dict(backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="backbone.pth")))
  mmsscl export work_dirs/scrl_r50_coco/epoch_200.pth backbone.safetensors --to timm
  mmsscl export work_dirs/scrl_r50_coco/epoch_200.pth backbone_d2.pth --to detectron2
  mmsscl export moco_v2_800ep_pretrain.pth.tar backbone.pth
  mmsscl export model_final.pth backbone.pth --from detectron2 \\
      --mean 103.53 116.28 123.675 --std 1 1 1 --channel-order BGR"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("checkpoint", help="of training, of mmsscl export or of another project (.pth, .safetensors)")
    parser.add_argument("output", help="the file to write")
    parser.add_argument(
        "--to", default="mmdet", metavar="LIBRARY", help="mmdet (default), mmpretrain, torchvision, timm or detectron2"
    )
    parser.add_argument(
        "--from", dest="layout", metavar="LAYOUT",
        help="what the checkpoint must be: mmsscl, scrl, moco, torchvision, ... (default: recognised by its keys)",
    )  # fmt: skip
    parser.add_argument(
        "--branch", choices=["online", "target"], default="online", help="trained by gradients, or its moving average"
    )
    parser.add_argument("--arch", metavar="NAME", help="what network it must be: resnet18, resnet50, swin-tiny, ...")
    numbers: dict[str, Any] = dict(nargs=3, type=float, metavar=("C1", "C2", "C3"))
    parser.add_argument("--mean", help="of the images it was trained on, where the file cannot tell", **numbers)
    parser.add_argument("--std", help="likewise", **numbers)
    parser.add_argument("--channel-order", choices=["RGB", "BGR"], help="likewise")
    parser.add_argument(
        "--pixel-range", type=int, choices=[1, 255], help="that --mean and --std are of (default: told by their size)"
    )
    parser.add_argument("--safetensors", action="store_true", help="write that format (or let OUTPUT end in .safetensors)")
    parser.add_argument("--report", help="also write what was found and written as json")
    add_allow_pickle(parser)


def run(options: argparse.Namespace) -> int:
    """Convert, and say what was found, written and must be set."""
    import dataclasses
    import json

    from mmsscl.atomic_file import atomic_file
    from mmsscl.zoo.convert import convert_backbone
    from mmsscl.zoo.normalisation import Normalisation

    report_file = _report_file(options)
    report = convert_backbone(
        options.checkpoint,
        options.output,
        to=options.to,
        layout=options.layout,
        branch=options.branch,
        arch=options.arch,
        mean=options.mean,
        std=options.std,
        channel_order=options.channel_order,
        pixel_range=options.pixel_range,
        safetensors=options.safetensors,
    )
    if report_file is not None:
        with atomic_file(report_file) as stream:
            stream.write((json.dumps(dataclasses.asdict(report), indent=2) + "\n").encode())
    print(f"{report.path}: {report.matched} of {report.keys} keys, sha256 {report.sha256[:8]}")
    print(f"read: {report.architecture}, {report.branch} branch; {report.layout}: {report.about}")
    if report.left_out:
        print(f"left out: {', '.join(report.left_out)}")
    images = Normalisation(report.mean, report.std, report.channel_order)
    print(f"images: {images.describe()} (by {report.normalisation_origin})")
    if report.mismatch:
        print(f"mismatch: {report.mismatch}")
    for line in report.settings:
        print(f"set in {report.target}: {line}")
    for line in report.remarks:
        print(f"note: {line}")
    return 0


def _report_file(options: argparse.Namespace) -> Path | None:
    """Where to write the report, known before anything is converted."""
    from mmsscl.engine.output_folder import writable_folder
    from mmsscl.errors import InputError
    from mmsscl.zoo.backbone_file import output_file

    if options.report is None:
        return None
    file = Path(options.report).expanduser()
    source = Path(options.checkpoint).expanduser()
    output = output_file(options.output, source, options.to, options.safetensors)
    if file.is_dir():
        raise InputError(f"--report {file}: is a folder. Name a file, for example {file / 'report.json'}.")
    for other, what in ((source, "the file that is read"), (output, "the backbone's file")):
        if file.resolve() == other.resolve():
            raise InputError(f"--report {file}: is {what}. Name another, for example {file.with_suffix('.json')}.")
    writable_folder(file.parent, "--report")
    return file
