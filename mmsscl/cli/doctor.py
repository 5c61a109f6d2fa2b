"""``mmsscl doctor`` looks at this machine, ``mmsscl doctor data`` at a data set."""
import argparse

from mmsscl.cli.verb_parser import SubVerb, add_sub_verbs

HELP = "say what is installed, what is missing and the command that mends it; or which photos of a data set are damaged"
EXAMPLES = """examples:
  mmsscl doctor
  mmsscl doctor data photos/ --out bad.txt --good good.txt"""
DATA = """examples:
  mmsscl doctor data photos/ --out bad.txt --good good.txt
  mmsscl doctor data annotations/instances_train2017.json --root train2017"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    data = SubVerb("read every photo of a data set and say which are damaged, and why", DATA, _data_arguments, _data)
    add_sub_verbs(parser, {"data": data}, default=_machine)


def _machine(options: argparse.Namespace) -> int:
    from mmsscl.doctor import machine

    report = machine.examine()
    print(report.text())
    return 1 if report.problems else 0


def _data_arguments(parser: argparse.ArgumentParser) -> None:
    from mmsscl.doctor import data

    data.add_arguments(parser)


def _data(options: argparse.Namespace) -> int:
    from mmsscl.doctor import data

    count, bad = data.main(options)
    for path, reason in bad[:20]:
        print(f"{path}: {reason}")
    if len(bad) > 20:
        print(f"... and {len(bad) - 20} more; all of them with --out FILE")
    print(f"{count} photos read, {len(bad)} bad")
    return 1 if bad else 0
