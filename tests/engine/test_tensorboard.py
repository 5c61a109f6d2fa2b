"""The line that docs/report.md gives for TensorBoard writes its files beside scalars.json."""
import json
from pathlib import Path

import pytest
import torch

from mmsscl.cli import main
from mmsscl.engine.config import load_config
from tests.sample_runs import NARROW, ROOT, write_pretraining_config

OPTION = "visualizer.vis_backends=[{'type':'LocalVisBackend'},{'type':'TensorboardVisBackend'}]"


def test_tensorboard_gets_what_scalars_json_gets(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (pip install tensorboard)")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert OPTION in (ROOT / "docs" / "report.md").read_text("utf-8")
    # the visualizer of the configs that we ship
    visualizer = load_config(ROOT / "configs" / "scrl_r50_coco.py").visualizer
    config = write_pretraining_config(tmp_path, more=f"{NARROW}\nvisualizer = {dict(visualizer)!r}\n")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert main(["train", str(config), "--work-dir", str(tmp_path / "work"), "--cfg-options", OPTION]) == 0
    finally:
        torch.set_num_threads(threads)
    scalars = next((tmp_path / "work").glob("*/vis_data/scalars.json"))
    rows = [json.loads(line) for line in scalars.read_text().splitlines()]
    events = EventAccumulator(str(scalars.parent))
    events.Reload()
    assert [event.value for event in events.Scalars("loss")] == pytest.approx([row["loss"] for row in rows])
    assert [event.step for event in events.Scalars("projection_std")] == [1, 2]
