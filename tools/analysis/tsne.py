"""Draw the features of labelled photos on a plane with t-SNE.

    python tools/analysis/tsne.py work_dirs/scrl/epoch_200.pth --photos photos/val --out tsne.png
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout works without being installed

from mmsscl.analysis import feature_tsne
from mmsscl.analysis.run_tool import run_tool

if __name__ == "__main__":
    sys.exit(run_tool(__doc__, feature_tsne.add_arguments, feature_tsne.main))
