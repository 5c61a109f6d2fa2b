"""Draw both views of training samples with their matched boxes, before and after augmentation: `mmsscl browse pairs`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout works without being installed

from mmsscl.cli import main

if __name__ == "__main__":
    sys.exit(main(["browse", "pairs", *sys.argv[1:]]))
