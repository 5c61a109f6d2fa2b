"""``mmsscl bench run | table``: SceneBench."""
import argparse
import sys

from mmsscl.cli.verb_parser import SubVerb, add_sub_verbs

HELP = "compare pretrainings on one folder of scenes under one budget (SceneBench)"
EXAMPLES = """examples:
  mmsscl bench run --data data/scenes --out work_dirs/scene_bench --methods random byol scrl --seeds 0
  mmsscl bench table --out work_dirs/scene_bench --into README.md --plot scene_bench.png"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_sub_verbs(parser, {
        "run": SubVerb("run cells, or what is left of them", EXAMPLES, _run_arguments, _run),
        "table": SubVerb("print the table of the cells that are there", EXAMPLES, _table_arguments, _table),
    })  # fmt: skip


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    from mmsscl.evaluation.scene_bench import command

    command.add_run_arguments(parser)


def _run(options: argparse.Namespace) -> int:
    from mmsscl.evaluation.scene_bench import command
    from mmsscl.evaluation.scene_bench.cell import CellStopped

    try:
        print(command.run_cells(options))
    except CellStopped as stopped:
        print(stopped, file=sys.stderr)
        return 75
    except KeyboardInterrupt:
        print("stopped. The same command goes on.", file=sys.stderr)
        return 130
    return 0


def _table_arguments(parser: argparse.ArgumentParser) -> None:
    from mmsscl.evaluation.scene_bench import command

    command.add_table_arguments(parser)


def _table(options: argparse.Namespace) -> int:
    from mmsscl.evaluation.scene_bench import command

    print(command.make_table(options))
    return 0
