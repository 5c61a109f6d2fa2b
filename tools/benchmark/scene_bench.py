"""Compare pretrainings on real scenes under one budget: `mmsscl bench`.

    python tools/benchmark/scene_bench.py run --data data/scenes --out work_dirs/scene_bench --methods random byol scrl
    python tools/benchmark/scene_bench.py table --out work_dirs/scene_bench --into README.md --plot scene_bench.png
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout works without being installed

from mmsscl.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
