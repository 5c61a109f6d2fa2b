"""Write a share of a COCO json's labels, such as 1 % and 10 %, the same on every machine.

Example:
    python tools/data/split_coco.py data/coco/annotations/instances_train2017.json --percent 1 10
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout works without being installed

from mmsscl.datasets.coco_split import write_coco_split
from mmsscl.errors import InputError


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Write a share of a COCO json's images with their annotations as NAME.FOLD@PERCENT.json. Shares of one "
        "fold lie within each other."
    )
    parser.add_argument("json", type=Path, help="the whole data set, in COCO format")
    parser.add_argument("--percent", type=float, nargs="+", default=[1, 10], help="of the images (default: 1 10)")
    parser.add_argument("--fold", type=int, default=0, help="another number, another choice (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder to write to (default: that of the json)")
    parser.add_argument(
        "--allow-missing-classes", action="store_true", help="accept a share that has no object of some class"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Write the shares, and say what is in them; status 2 on bad input."""
    args = parse_arguments(arguments)
    folder = args.out or args.json.parent
    try:
        for percent in args.percent:
            output = folder / f"{args.json.stem}.{args.fold}@{percent:g}.json"
            split = write_coco_split(args.json, output, percent, args.fold, args.allow_missing_classes)
            lacks = f"; lacks {', '.join(split.absent)}" if split.absent else ""
            print(f"{split.file}: {split.images} images, {split.annotations} annotations{lacks}")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
