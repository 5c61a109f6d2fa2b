"""``mmsscl train``."""
import argparse

from mmsscl.cli.common_arguments import add_allow_pickle, add_run_arguments, tell_local_rank

HELP = "pretrain, fine-tune a detector or train a classifier: what the config says"
EXAMPLES = """examples:
  mmsscl train configs/scrl_r50_coco.py
  mmsscl train configs/scrl_r50_coco.py --amp --cfg-options train_dataloader.batch_size=64
  mmsscl train configs/transfer/faster_rcnn_r50_fpn_custom.py --cfg-options \\
      dataset_from_json.train=train.json dataset_from_json.val=val.json dataset_from_json.images=photos \\
      model.backbone.init_cfg.checkpoint=backbone.pth
  several GPUs: bash tools/dist_train.sh CONFIG GPUS [the same options]"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("config", help="a config: pretraining, transfer or classification")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="auto|PATH",
        help="go on from a checkpoint; without a path from the latest in the work dir, if there is one",
    )
    parser.add_argument(
        "--amp", nargs="?", const="bf16", choices=["bf16", "fp16"], help="mixed precision (default bf16; fp16 needs a GPU)"
    )
    parser.add_argument(
        "--auto-scale-lr", action="store_true", help="scale the learning rate by batch size over auto_scale_lr's"
    )
    add_run_arguments(parser)
    add_allow_pickle(parser)


def run(options: argparse.Namespace) -> int:
    """Train."""
    tell_local_rank(options)
    from mmsscl.engine.train import train

    train(
        options.config,
        work_dir=options.work_dir,
        resume=options.resume,
        amp=options.amp,
        auto_scale_lr=options.auto_scale_lr,
        options=options.cfg_options,
        launcher=options.launcher,
    )
    return 0
