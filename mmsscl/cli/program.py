"""``mmsscl <verb>``: finds the verb, runs it, and says in one line what was wrong with its input."""
import argparse
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence

from mmsscl.cli.verb_parser import SubVerb, VerbParser, add_verb
from mmsscl.errors import InputError, UnreadableImageError

DESCRIPTION = "Pretrain vision backbones on unlabelled scene photos, and carry them to mmdet."

VERBS = ("train", "test", "predict", "export", "zoo", "browse", "eval", "bench", "report", "doctor", "shards")
"""In the order of the help. Each is a module of this package with ``HELP``, ``EXAMPLES``, ``arguments(parser)`` and, unless
it only has verbs of its own, ``run(options)``."""

LOCAL_RANK_VARIABLES = {"pytorch": "LOCAL_RANK", "slurm": "SLURM_LOCALID", "mpi": "OMPI_COMM_WORLD_LOCAL_RANK"}
"""Where a launcher tells a process its number on its machine, by ``--launcher``."""


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
    parser = build_parser()
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


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs; a verb's own arguments are added when it is asked for."""
    from mmsscl.version import __version__

    parser = argparse.ArgumentParser(prog="mmsscl", description=DESCRIPTION, epilog="mmsscl VERB --help shows examples.")
    parser.add_argument("--version", action="version", version=f"mmsscl {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=VerbParser)
    for name in VERBS:
        module = importlib.import_module(f"mmsscl.cli.{name}")
        add_verb(verbs, name, SubVerb(module.HELP, module.EXAMPLES, module.arguments, getattr(module, "run", None)))
    return parser
