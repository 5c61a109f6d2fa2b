"""Draw both views of training samples with their matched boxes, before and after augmentation.

Example:
    python tools/browse_pairs.py configs/scrl_r50_coco.py --out work_dirs/browse --number 8
"""
import argparse
import sys

from mmsscl.errors import InputError
from mmsscl.visualization.browse_pairs import add_arguments, main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    try:
        sys.exit(main(parser.parse_args()))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
