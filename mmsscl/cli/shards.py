"""``mmsscl shards write | index``."""
import argparse

HELP = "pack photos into tar files, for clusters whose file system is slow with many small ones"
EXAMPLES = """examples:
  mmsscl shards write photos/ shards/
  mmsscl shards write train.txt shards/ --root photos --megabytes 500
  mmsscl shards index shards/
  mmsscl train CONFIG --cfg-options train_dataloader.dataset.data_root=shards train_dataloader.dataset.shards='*.tar'"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    from mmsscl.datasets.shards import write_shards

    write_shards.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Pack or index, and print what was done."""
    from mmsscl.datasets.shards import write_shards

    print(write_shards.main(options))
    return 0
