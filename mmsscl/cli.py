"""``mmsscl <verb>``; ``tools/*.py`` call the same functions."""

import argparse
import dataclasses
import io
import json
import os
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mmsscl.errors import InputError, UnreadableImageError

DESCRIPTION = "Pretrain vision backbones on unlabelled scene photos, and carry them to mmdet."

EXAMPLES = {
    "train": """examples:
  mmsscl train configs/scrl_r50_coco.py
  mmsscl train configs/scrl_r50_coco.py --amp --cfg-options train_dataloader.batch_size=64
  mmsscl train configs/transfer/faster_rcnn_r50_fpn_custom.py --cfg-options \\
      dataset_from_json.train=train.json dataset_from_json.val=val.json dataset_from_json.images=photos \\
      model.backbone.init_cfg.checkpoint=backbone.pth
  several GPUs: bash tools/dist_train.sh CONFIG GPUS [the same options]""",
    "test": """example:
  mmsscl test configs/transfer/mask_rcnn_r50_fpn_syncbn_1x_coco.py work_dirs/mask_rcnn/epoch_12.pth --out metrics.json""",
    "export": """example:
  mmsscl export work_dirs/scrl_r50_coco/epoch_200.pth backbone.pth
  then in an mmdet config: model = dict(backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="backbone.pth")))""",
    "browse": """example:
  mmsscl browse configs/scrl_r50_coco.py""",
    "predict": """example:
  mmsscl predict CONFIG CHECKPOINT photos/""",
    "saliency": """examples:
  mmsscl saliency configs/sgcl_r50_coco.py work_dirs/sgcl_r50_coco/epoch_100.pth work_dirs/sgcl_r50_coco/epoch_200.pth
  mmsscl saliency configs/sgcl_r50_coco.py --history work_dirs/sgcl_r50_coco/saliency_history.npz
  mmsscl saliency configs/scrl_r50_coco.py epoch_200.pth --estimator GeodesicSaliency --images photos/""",
    "eval-saliency": """examples:
  mmsscl eval-saliency configs/sgcl_r50_coco.py epoch_100.pth epoch_200.pth --images ecssd/images --masks ecssd/masks
  mmsscl eval-saliency configs/scrl_r50_coco.py epoch_200.pth --estimator GeodesicSaliency \\
      --images coco/val2017 --coco coco/annotations/instances_val2017.json --out scores.json""",
    "eval-regions": """examples:
  mmsscl eval-regions work_dirs/byol/epoch_200.pth work_dirs/scrl/epoch_200.pth --images photos/ --random
  mmsscl eval-regions scrl_backbone.pth --images coco/val2017 \\
      --coco coco/annotations/instances_val2017.json --out scores.json""",
    "doctor": """examples:
  mmsscl doctor data photos/ --out bad.txt --good good.txt
  mmsscl doctor data annotations/instances_train2017.json --root train2017""",
    "knn": """examples:
  mmsscl knn backbone.pth --train photos/train --val photos/val --k 1 20 200
  mmsscl knn work_dirs/byol/epoch_200.pth work_dirs/scrl/epoch_200.pth --random --cache features --train ... --val ...""",
    "linear": """examples:
  mmsscl linear backbone.pth --train photos/train --val photos/val
  the published protocols, which train for epochs: mmsscl train configs/classify/...""",
    "svm": """examples:
  mmsscl svm backbone.pth --train voc07_trainval.json --val voc07_test.json --images VOC2007/JPEGImages --shots 1 2 4 8 16
  mmsscl svm backbone.pth --train photos/train --val photos/val""",
    "shards": """examples:
  mmsscl shards write photos/ shards/
  mmsscl shards write train.txt shards/ --root photos --megabytes 500
  mmsscl shards index shards/
  mmsscl train CONFIG --cfg-options train_dataloader.dataset.data_root=shards train_dataloader.dataset.shards='*.tar'""",
}

LOCAL_RANK_VARIABLES = {"pytorch": "LOCAL_RANK", "slurm": "SLURM_LOCALID", "mpi": "OMPI_COMM_WORLD_LOCAL_RANK"}
"""Where a launcher tells a process its number on its machine, by ``--launcher``."""

READERS = ("train", "test", "export", "predict", "saliency", "eval-saliency", "eval-regions", "knn", "linear", "svm")
"""The verbs that read checkpoints."""

HELP = {
    "train": "pretrain, fine-tune a detector or train a classifier: what the config says",
    "test": "evaluate a transfer or classification config on a checkpoint",
    "export": "write the backbone of a pretraining checkpoint as a file for mmdet and mmpretrain",
    "browse": "draw pairs of views with their matched boxes",
    "predict": "draw a fine-tuned detector's predictions on a folder of photos",
    "saliency": "draw saliency maps, their evolution over refreshes or checkpoints, and where crops fall",
    "eval-saliency": "score saliency maps on photos with masks or boxes, beside baselines",
    "eval-regions": "score how well features find a region of a photo in another view of it, beside controls",
    "doctor": "read every photo of a data set and say which are damaged, and why",
    "knn": "classify photos by their nearest neighbours among the features of labelled ones",
    "linear": "classify photos by a logistic regression on frozen features, in seconds",
    "svm": "classify photos by linear SVMs on frozen features, from few labels too (VOC07's protocol)",
    "shards": "pack photos into tar files, for clusters whose file system is slow with many small ones",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: Arguments after the program's name; ``sys.argv`` by default.

    Returns:
        The exit status: 0, or 2 for bad input, whose message goes to standard error. Other errors leave as they are.

    Example:
        >>> main(["export", "epoch_200.pth", "backbone.pth"])  # doctest: +SKIP
        0
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # names of files need not be text
            stream.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _parser(arguments)
    options = parser.parse_args(arguments)
    if options.verb is None:
        parser.print_help()
        return 2
    if getattr(options, "allow_pickle", False):
        # the worker processes' too
        os.environ["MMSSCL_ALLOW_PICKLE"] = "1"
    try:
        return int(options.run(options) or 0)
    except InputError as error:
        if os.environ.get("MMSSCL_TRACEBACK") == "1":
            traceback.print_exc()
        _report(error, getattr(options, "launcher", "none"))
        return 2


class _IntermixedParser(argparse.ArgumentParser):
    """A verb's parser that takes positional arguments between and after options, as in ``CONFIG --out X CHECKPOINT``.

    argparse hands a verb's words to ``parse_known_args``, which gives up on a second group of positional arguments.
    """

    _intermixing = False

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        # parse_known_intermixed_args calls this method in turn, up to Python 3.11
        if self._intermixing:
            return super().parse_known_args(args, namespace)
        self._intermixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._intermixing = False


def _report(error: InputError, launcher: str) -> None:
    text = _without_worker_traceback(str(error))
    # whoever joined a process group has imported it
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        # from here on each rank reads its own part of the data: the error may be this rank's alone
        print(f"[rank {distributed.get_rank()}] error: {text}", file=sys.stderr)
    elif os.environ.get(LOCAL_RANK_VARIABLES.get(launcher, ""), "0") == "0":
        # all processes of a machine read the same files before: one line a machine
        print(f"error: {text}", file=sys.stderr)


def _without_worker_traceback(text: str) -> str:
    """torch puts the traceback of a data loader's worker into the message of the error that it raises again."""
    for kind in (InputError, UnreadableImageError):
        if text.startswith(f"Caught {kind.__name__}"):
            return text.rpartition(f"{kind.__module__}.{kind.__qualname__}: ")[2].strip()
    return text


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    from mmsscl.version import __version__

    parser = argparse.ArgumentParser(prog="mmsscl", description=DESCRIPTION, epilog="mmsscl VERB --help shows examples.")
    parser.add_argument("--version", action="version", version=f"mmsscl {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_IntermixedParser)
    fill = {"train": _train_arguments, "test": _test_arguments, "export": _export_arguments}
    fill |= {"browse": _browse_arguments, "predict": _predict_arguments}
    fill |= {"saliency": _saliency_arguments, "eval-saliency": _eval_saliency_arguments, "doctor": _doctor_arguments}
    fill |= {"eval-regions": _eval_regions_arguments}
    fill |= {"shards": _shards_arguments}
    fill |= {measure: partial(_feature_arguments, measure) for measure in ("knn", "linear", "svm")}
    for verb, help_text in HELP.items():
        sub = verbs.add_parser(
            verb,
            help=help_text,
            description=f"{help_text[0].upper()}{help_text[1:]}.",
            epilog=EXAMPLES[verb],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        # the arguments of a verb import its libraries: only the verb that is asked for pays
        if verb in arguments:
            fill[verb](sub)
            if verb in READERS:
                sub.add_argument("--allow-pickle", action="store_true", help="let checkpoints run code; for those you trust")
    return parser


def _common_arguments(parser: argparse.ArgumentParser) -> None:
    from mmsscl.engine.key_value_action import KeyValueAction

    parser.add_argument("--work-dir", help="folder for logs and checkpoints (default: work_dirs/<name of the config>)")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=KeyValueAction,
        default=None,
        metavar="KEY=VALUE",
        help="override settings of the config: nested keys by dots, list items by number, lists as key='[a,b]'",
    )
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def _train_arguments(parser: argparse.ArgumentParser) -> None:
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
    _common_arguments(parser)
    parser.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    os.environ.setdefault("LOCAL_RANK", str(options.local_rank))
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


def _test_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a config of configs/transfer/ or configs/classify/")
    parser.add_argument("checkpoint", help="a checkpoint of that config's training")
    parser.add_argument("--out", help="where the metrics go as json (default: metrics.json in the work dir)")
    _common_arguments(parser)
    parser.set_defaults(run=_test)


def _test(options: argparse.Namespace) -> int:
    os.environ.setdefault("LOCAL_RANK", str(options.local_rank))
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


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="a pretraining checkpoint (epoch_*.pth, iter_*.pth)")
    parser.add_argument("output", help="the file to write")
    parser.add_argument(
        "--branch", choices=["online", "target"], default="online", help="trained by gradients, or its moving average"
    )
    parser.add_argument("--report", help="also write what was exported (path, matched, keys, sha256) as json")
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    from mmsscl.zoo.export import export_backbone

    report = export_backbone(options.checkpoint, options.output, branch=options.branch)
    if options.report:
        Path(options.report).write_text(json.dumps(dataclasses.asdict(report), indent=2) + "\n", encoding="utf-8")
    print(f"{report.path}: {report.matched} of {report.keys} keys, sha256 {report.sha256[:8]}")
    return 0


def _browse_arguments(parser: argparse.ArgumentParser) -> None:
    from mmsscl.visualization import browse_pairs

    browse_pairs.add_arguments(parser)
    parser.set_defaults(run=browse_pairs.main)


def _predict_arguments(parser: argparse.ArgumentParser) -> None:
    from mmsscl.visualization import predict

    predict.add_arguments(parser)
    parser.set_defaults(run=predict.main)


def _doctor_arguments(parser: argparse.ArgumentParser) -> None:
    from mmsscl.doctor import data

    parser.add_argument("what", choices=["data"], help="what to look at")
    data.add_arguments(parser)
    parser.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from mmsscl.doctor import data

    count, bad = data.main(options)
    for path, reason in bad[:20]:
        print(f"{path}: {reason}")
    if len(bad) > 20:
        print(f"... and {len(bad) - 20} more; all of them with --out FILE")
    print(f"{count} photos read, {len(bad)} bad")
    return 1 if bad else 0


def _feature_arguments(measure: str, parser: argparse.ArgumentParser) -> None:
    from mmsscl.evaluation import eval_features

    eval_features.add_arguments(parser, measure)
    parser.set_defaults(run=partial(_features, measure))


def _features(measure: str, options: argparse.Namespace) -> int:
    from mmsscl.evaluation import eval_features

    print(eval_features.table(eval_features.main(options, measure)))
    return 0


def _shards_arguments(parser: argparse.ArgumentParser) -> None:
    from mmsscl.datasets.shards import write_shards

    write_shards.add_arguments(parser)
    parser.set_defaults(run=_shards)


def _shards(options: argparse.Namespace) -> int:
    from mmsscl.datasets.shards import write_shards

    print(write_shards.main(options))
    return 0


def _saliency_arguments(parser: argparse.ArgumentParser) -> None:
    from mmsscl.visualization import browse_saliency

    browse_saliency.add_arguments(parser)
    parser.set_defaults(run=browse_saliency.main)


def _eval_saliency_arguments(parser: argparse.ArgumentParser) -> None:
    from mmsscl.evaluation import eval_saliency

    eval_saliency.add_arguments(parser)
    parser.set_defaults(run=_eval_saliency)


def _eval_saliency(options: argparse.Namespace) -> int:
    from mmsscl.evaluation import eval_saliency

    print(eval_saliency.format_report(eval_saliency.main(options)))
    return 0


def _eval_regions_arguments(parser: argparse.ArgumentParser) -> None:
    from mmsscl.evaluation import eval_regions

    eval_regions.add_arguments(parser)
    parser.set_defaults(run=_eval_regions)


def _eval_regions(options: argparse.Namespace) -> int:
    from mmsscl.evaluation import eval_regions

    print(eval_regions.format_report(eval_regions.main(options)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
