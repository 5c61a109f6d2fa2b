"""Count the parameters of a config's model, and the multiply-adds of its backbone.

    python tools/analysis/get_flops.py configs/scrl_r50_coco.py --shape 224
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout works without being installed

from mmsscl.analysis import complexity
from mmsscl.analysis.run_tool import run_tool

if __name__ == "__main__":
    sys.exit(run_tool(__doc__, complexity.add_arguments, complexity.main))
