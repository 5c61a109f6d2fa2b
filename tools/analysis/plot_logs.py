"""Plot figures of several runs into one picture.

    python tools/analysis/plot_logs.py work_dirs/byol work_dirs/scrl --keys loss projection_std --out runs.png
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout works without being installed

from mmsscl.analysis import plot_logs
from mmsscl.analysis.run_tool import run_tool

if __name__ == "__main__":
    sys.exit(run_tool(__doc__, plot_logs.add_arguments, plot_logs.main))
