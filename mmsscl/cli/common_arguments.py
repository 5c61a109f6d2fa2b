"""Arguments that several verbs take."""
import argparse
import os


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """What verbs that run a config take."""
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


def tell_local_rank(options: argparse.Namespace) -> None:
    """Put a launcher's number of this process where mmengine looks for it."""
    os.environ.setdefault("LOCAL_RANK", str(options.local_rank))


def add_allow_pickle(parser: argparse.ArgumentParser) -> None:
    """What verbs that read checkpoints take; ``main`` acts on it."""
    parser.add_argument("--allow-pickle", action="store_true", help="let checkpoints run code; for those you trust")
