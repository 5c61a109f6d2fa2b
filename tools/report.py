"""Write one html page about a run: `mmsscl report`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout works without being installed

from mmsscl.cli import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
