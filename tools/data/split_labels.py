"""Write a list of a part of a labelled folder: a share of every class, or what a published list names.

Examples:
    python tools/data/split_labels.py data/imagenet/train --percent 1 --out data/imagenet/train_1percent.txt
    python tools/data/split_labels.py photos/train --shots 4 --seed 1 --out train_4shots.txt
    python tools/data/split_labels.py data/imagenet/train --list 1percent.txt --out data/imagenet/train_1percent.txt
"""
import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout works without being installed

from mmsscl.datasets.label_split import (
    class_files,
    class_names,
    read_label_list,
    split_labels,
    with_labels,
    write_label_list,
)
from mmsscl.errors import InputError


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="List a part of a folder that holds a folder of photos for each class.")
    parser.add_argument("folder", help="holds a folder for each class")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--percent", type=float, help="share of each class, at least one photo; 1 lies within 10")
    kind.add_argument("--shots", type=int, help="photos of each class")
    kind.add_argument("--list", help="a list to check and to bring to this form, such as SimCLR's 1percent.txt")
    parser.add_argument("--seed", type=int, default=0, help="decides which photos (default: %(default)s)")
    parser.add_argument("--out", required=True, help="the list: a line 'class/name.jpg label' for each photo")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Write the list, and say what is in it; status 2 on bad input."""
    args = parse_arguments(arguments)
    try:
        if args.list is None:
            labelled = with_labels(split_labels(class_files(args.folder), args.percent, args.shots, args.seed))
        else:
            labelled = read_label_list(args.list, args.folder, class_names(args.folder))
        write_label_list(args.out, labelled)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    counts = Counter(label for _, label in labelled).values()
    print(f"{args.out}: {len(labelled)} photos of {len(counts)} classes, {min(counts)} to {max(counts)} of each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
