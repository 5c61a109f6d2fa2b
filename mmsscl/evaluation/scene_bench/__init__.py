"""SceneBench: pretraining methods on one folder of scenes under one budget, scored by one set of measures."""
from mmsscl.evaluation.scene_bench.cell import Cell, run_cell
from mmsscl.evaluation.scene_bench.methods import METHODS
from mmsscl.evaluation.scene_bench.settings import BenchSettings

__all__ = ["METHODS", "BenchSettings", "Cell", "run_cell"]
