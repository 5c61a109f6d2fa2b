"""Draw a fine-tuned detector's predictions on a folder of photos.

Example:
    python tools/predict.py configs/transfer/my_detector.py work_dirs/my_detector/epoch_12.pth photos --out pictures
"""
import argparse
import sys

from mmsscl.errors import InputError
from mmsscl.visualization.predict import add_arguments, main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    try:
        sys.exit(main(parser.parse_args()))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
