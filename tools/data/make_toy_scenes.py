"""Render the embedded scene set: JPEGs and COCO json of toy scenes, deterministic in the seed.

Example:
    python tools/data/make_toy_scenes.py data/toy --train 600 --val 200 --unlabeled 2400
"""
import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout works without being installed

from mmsscl.datasets.toy_difficulty import DIFFICULTIES
from mmsscl.datasets.toy_scenes import write_toy_scenes
from mmsscl.errors import InputError


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Render the embedded scene set (JPEGs and COCO json).")
    parser.add_argument("out", help="folder to write; a complete one of the same settings is reused")
    parser.add_argument("--train", type=int, default=600, help="annotated training images (default: %(default)s)")
    parser.add_argument("--val", type=int, default=200, help="annotated validation images (default: %(default)s)")
    parser.add_argument("--unlabeled", type=int, default=2400, help="images without labels (default: %(default)s)")
    parser.add_argument("--size", type=int, help="image side in pixels (default: 128; 160 for hard)")
    parser.add_argument("--difficulty", choices=list(DIFFICULTIES), default="easy", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="decides every scene (default: %(default)s)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Render, and say where; status 2 on bad input."""
    args = parse_arguments(arguments)
    start = time.perf_counter()
    try:
        folder = write_toy_scenes(args.out, args.train, args.val, args.unlabeled, args.size, args.difficulty, args.seed)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    seconds = time.perf_counter() - start
    total = sum(folder.counts.values())
    counts = ", ".join(f"{count} {split}" for split, count in folder.counts.items())
    if folder.rendered:
        print(f"{folder.root}: rendered {counts} in {seconds:.1f} s ({total / seconds:.0f} images/s)")
    else:
        print(f"{folder.root}: already complete ({counts})")
    print(f"classes: {', '.join(folder.classes)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
