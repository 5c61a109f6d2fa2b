"""``mmsscl shards write | index``."""
import argparse

from mmsscl.cli.verb_parser import SubVerb, add_sub_verbs

HELP = "pack photos into tar files, for clusters whose file system is slow with many small ones"
EXAMPLES = """examples:
  mmsscl shards write photos/ shards/
  mmsscl shards write train.txt shards/ --root photos --megabytes 500
  mmsscl shards index shards/
  mmsscl train CONFIG --cfg-options train_dataloader.dataset.data_root=shards train_dataloader.dataset.shards='*.tar'"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_sub_verbs(parser, {
        "write": SubVerb("pack photos into tar files, each with its index", EXAMPLES, _write_arguments, _write),
        "index": SubVerb("list what is in tar files that are there", EXAMPLES, _index_arguments, _index),
    })  # fmt: skip


def _write_arguments(parser: argparse.ArgumentParser) -> None:
    from mmsscl.datasets.shards import write_shards

    write_shards.add_write_arguments(parser)


def _write(options: argparse.Namespace) -> int:
    from mmsscl.datasets.shards import write_shards

    print(write_shards.write_command(options))
    return 0


def _index_arguments(parser: argparse.ArgumentParser) -> None:
    from mmsscl.datasets.shards import write_shards

    write_shards.add_index_arguments(parser)


def _index(options: argparse.Namespace) -> int:
    from mmsscl.datasets.shards import write_shards

    print(write_shards.index_command(options))
    return 0
