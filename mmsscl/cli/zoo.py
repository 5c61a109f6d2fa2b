"""``mmsscl zoo``: list, show, download, verify and add models."""
import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsscl.cli.verb_parser import SubVerb, add_sub_verbs

if TYPE_CHECKING:
    from mmsscl.zoo.entry import Entry

HELP = "list, show, download, verify and publish pretrained backbones"

EXAMPLES = """examples:
  mmsscl zoo list scrl
  mmsscl zoo show scrl_r50_3rdparty-200e_in1k
  mmsscl zoo download scrl_r50_3rdparty-200e_in1k --allow-unverified
  mmsscl zoo verify
  mmsscl zoo add work_dirs/quickstart/backbone.pth --name scrl_r18_toy --metrics work_dirs/quickstart/summary.json
  MMSSCL_ZOO=https://host/zoo mmsscl zoo list       # a mirror: http, https, or a folder by file:///FOLDER
  mmsscl train CONFIG --cfg-options model.backbone.init_cfg.checkpoint=$(mmsscl zoo download NAME)"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_sub_verbs(parser, {
        "list": SubVerb("the models of the package, of your zoo and of the mirror", EXAMPLES, _list_arguments, _list),
        "show": SubVerb("all that is known of a model, and how to use it", EXAMPLES, _name_argument, _show),
        "download": SubVerb(
            "bring a model's backbone here, check it, and print its path", EXAMPLES, _download_arguments, _download
        ),
        "verify": SubVerb("hash again what was downloaded or published here", EXAMPLES, _verify_arguments, _verify),
        "add": SubVerb("publish an exported backbone into a zoo folder", EXAMPLES, _add_arguments, _add),
    })  # fmt: skip


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("filter", nargs="*", help="words that must all be in a line, upper or lower case")


def _name_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")


def _download_arguments(parser: argparse.ArgumentParser) -> None:
    _name_argument(parser)
    parser.add_argument(
        "--allow-unverified", action="store_true", help="take a file whose hash nobody knows; the hash is then pinned"
    )


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="models; all without one")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="of `mmsscl export`")
    parser.add_argument("--name", required=True, help="of the model: letters, digits and . _ + -")
    parser.add_argument("--into", type=Path, metavar="DIR", help="the zoo's folder; your own, in the cache, by default")
    parser.add_argument(
        "--metrics", type=Path, nargs="+", default=[], metavar="JSON",
        help="figures: summary.json of the quickstart, or names and numbers, as `mmsscl test --out` writes them",
    )  # fmt: skip
    parser.add_argument("--task", help="what flat figures measure, for example 'Object Detection'")
    parser.add_argument("--dataset", help="what flat figures were measured on")
    parser.add_argument("--method", help="for example SCRL")
    parser.add_argument("--data", help="what it was trained on")
    parser.add_argument("--epochs", type=float, help="how long")
    parser.add_argument("--config", help="of the pretraining, as in configs/scrl_r50_coco.py")
    parser.add_argument("--replace", action="store_true", help="take the place of another file of this name")


def _say(message: str) -> None:
    # the paths alone go to standard output, for $(...)
    print(message, file=sys.stderr)


def _entries() -> "dict[str, Entry]":
    from mmsscl.zoo.catalogue import all_entries

    return all_entries(_say)


def _list(options: argparse.Namespace) -> int:
    from mmsscl.errors import InputError
    from mmsscl.zoo.listing import COLUMNS, row

    entries = _entries()
    words = [word.lower() for word in options.filter]
    rows = [row(entry) for entry in entries.values()]
    rows = [cells for cells in rows if all(word in " ".join(cells).lower() for word in words)]
    if not rows:
        raise InputError(f"no line holds {' and '.join(options.filter)}. `mmsscl zoo list` shows all {len(entries)}.")
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows)]
    for cells in (COLUMNS, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip())
    return 0


def _show(options: argparse.Namespace) -> int:
    from mmsscl.zoo.catalogue import find
    from mmsscl.zoo.listing import facts

    print(facts(find(options.name, _entries())))
    return 0


def _download(options: argparse.Namespace) -> int:
    from mmsscl.zoo.catalogue import find
    from mmsscl.zoo.fetch import fetch
    from mmsscl.zoo.progress_bar import progress_bar

    entry = find(options.name, _entries())
    with progress_bar(entry.name) as progress:
        path = fetch(entry, _say, options.allow_unverified, progress)
    print(path)
    return 0


def _verify(options: argparse.Namespace) -> int:
    from mmsscl.zoo.fetch import check_files

    checks = check_files(options.names)
    for check in checks:
        if check.ok:
            print(f"ok       {check.name}  {check.file}")
        elif check.found is None:
            print(f"{'gone   ' if check.deleted else 'missing'}  {check.name}  {check.file}; {check.remedy}")
        else:
            print(f"DAMAGED  {check.name}  {check.file}")
            print(f"         sha256 {check.found}, expected {check.expected}; {check.remedy}")
    if not checks:
        print("nothing was downloaded or published here")
    # what was deleted is missed only by who asks for it
    return 0 if all(check.ok or (check.deleted and not options.names) for check in checks) else 1


def _add(options: argparse.Namespace) -> int:
    from mmsscl.zoo.metrics_file import facts_of, read_metrics
    from mmsscl.zoo.publish import publish

    results: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}
    for file in options.metrics:
        results += read_metrics(file, options.task, options.dataset)
        facts |= facts_of(file)
    given = {
        "method": options.method, "config": options.config, "Training Data": options.data, "Epochs": options.epochs,
    }  # fmt: skip
    facts |= {key: value for key, value in given.items() if value is not None}
    print(publish(options.file, options.name, options.into, facts, results, options.replace, _say))
    return 0
