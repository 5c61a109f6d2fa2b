"""The data path on real photos; skipped where MMSSCL_DATA does not name them."""
import json
import os
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from mmsscl.registry import DATASETS

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not os.environ.get("MMSSCL_DATA"), reason="MMSSCL_DATA does not name the real photos")


def test_scenes_are_found_without_the_validation_photos_and_yield_pairs():
    config = Config.fromfile(ROOT / "configs/scenes/scrl_r18_scenes.py")
    scenes = DATASETS.build(config.train_dataloader.dataset)
    assert len(scenes) == 5521
    data = Path(os.environ["MMSSCL_DATA"])
    validation = {
        str(data / name / "images" / image["file_name"])
        for name in ("voc_scenes", "coco_mini")
        for image in json.loads((data / name / "instances_val.json").read_text())["images"]
    }
    assert not validation & {scenes.path(index) for index in range(len(scenes))}

    counts, spread = [], []
    for index in range(0, len(scenes), 200):
        sample = scenes[(1, index)]
        boxes, valid = sample["pairs"]["boxes"], sample["pairs"]["valid"]
        assert boxes.shape == (2, 10, 4)
        assert (boxes >= 0).all()
        assert (boxes <= 128).all()
        assert (boxes[..., 2:] > boxes[..., :2]).all()
        counts.append(int(valid.sum()))
        spread.append(float(sample["inputs"][0].float().std()))
    assert np.mean(counts) > 9.5
    assert np.median(spread) > 20  # photographs, not blank images
