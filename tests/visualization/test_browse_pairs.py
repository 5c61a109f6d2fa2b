"""``browse_pairs`` draws what the config's data set and preprocessor give."""
import argparse
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmsscl.cli import main as command
from mmsscl.datasets.toy_scenes import write_toy_scenes
from mmsscl.errors import InputError
from mmsscl.visualization.browse_pairs import add_arguments, browse_pairs, main

CONFIG = """
default_scope = "mmsscl"
model = dict(type="SCRL", data_preprocessor=dict(type="PairDataPreprocessor"))
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        type="SceneImages",
        data_root={root!r},
        seed=0,
        pipeline=[
            dict(type="LoadSceneImage"),
            dict(
                type="SpatialConsistentPair", size=96,
                views=[dict(type="RandomAreaCrop"), dict(type="RandomAreaCrop")],
                boxes=dict(type="GridBoxes", num_boxes=4, min_size=16)),
            dict(type="DrawPhotometric", views=[dict(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)] * 2),
            dict(type="PackPair"),
        ]))
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("browse")
    folder = write_toy_scenes(root / "toy", unlabeled=5, size=128)
    path = root / "config.py"
    path.write_text(CONFIG.format(root=str(folder.images("unlabeled"))))
    return path


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_pictures_are_written(config_file: Path, tmp_path: Path) -> None:
    assert main(arguments(str(config_file), "--out", str(tmp_path / "out"), "--number", "3", "--epoch", "2")) == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["contact_sheet.png"] + [f"pair_{index:06d}_epoch_2.png" for index in (0, 2, 4)]
    picture = cv2.imread(str(tmp_path / "out" / names[1]))
    assert picture.shape[0] == 606
    assert picture.std() > 10


def test_same_epoch_same_picture_and_other_epoch_other_picture(config_file: Path) -> None:
    config = Config.fromfile(config_file)
    first, again, later = (next(iter(browse_pairs(config, 1, epoch)))[1] for epoch in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first.shape != later.shape or (first != later).any()


def test_photos_in_tar_files_give_the_same_pictures(config_file: Path, tmp_path: Path) -> None:
    config = Config.fromfile(config_file)
    wanted = [picture for _, picture in browse_pairs(config, 5)]
    assert command(["shards", "write", config.train_dataloader.dataset.data_root, str(tmp_path / "shards")]) == 0
    config.train_dataloader.dataset.update(data_root=str(tmp_path / "shards"), shards="*.tar")
    found = [picture for _, picture in browse_pairs(config, 5)]
    assert len(found) == len(wanted) == 5
    for one, other in zip(found, wanted):
        np.testing.assert_array_equal(one, other)


def test_pairs_are_those_of_the_runs_seed(config_file: Path) -> None:
    def picture(own: int | None, run: int | None) -> np.ndarray:
        config = Config.fromfile(config_file)
        config.train_dataloader.dataset.seed = own
        if own is None:
            del config.train_dataloader.dataset["seed"]
        if run is not None:
            config.randomness = dict(seed=run)
        return next(iter(browse_pairs(config, 1)))[1]

    of_the_run = picture(None, 5)
    np.testing.assert_array_equal(of_the_run, picture(5, None))
    default = picture(None, None)
    assert of_the_run.shape != default.shape or (of_the_run != default).any()


def test_augmentation_shows_in_the_lower_row_only(config_file: Path) -> None:
    """Without photometric strength both rows are the same picture, but for the line of text."""
    config = Config.fromfile(config_file)
    _, augmented = next(iter(browse_pairs(config, 1)))
    config.train_dataloader.dataset.pipeline[2].views = [{}, {}]
    config.model.data_preprocessor.augment = False
    _, plain = next(iter(browse_pairs(config, 1)))
    assert (plain[:280, -606:] == plain[306:586, -606:]).all()
    difference = np.abs(augmented[:280, -606:].astype(int) - augmented[306:586, -606:])
    assert difference.mean() > 5
    np.testing.assert_array_equal(plain[:300], augmented[:300])


def test_more_samples_than_images(config_file: Path) -> None:
    assert [index for index, _ in browse_pairs(Config.fromfile(config_file), 50)] == [0, 1, 2, 3, 4]


def test_bad_input(config_file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.py"):
        main(arguments(str(tmp_path / "absent.py")))
    with pytest.raises(InputError, match="number=0"):
        main(arguments(str(config_file), "--number", "0"))
    with pytest.raises(InputError, match=r"no such folder"):
        main(arguments(str(config_file), "--cfg-options", f"train_dataloader.dataset.data_root={tmp_path}/none"))
    config = Config.fromfile(config_file)
    config.pop("train_dataloader")
    with pytest.raises(InputError, match=r"train_dataloader\.dataset"):
        next(iter(browse_pairs(config)))
    config = Config.fromfile(config_file)
    config.train_dataloader.dataset.pipeline = []
    with pytest.raises(InputError, match="PackPair"):
        next(iter(browse_pairs(config)))
    config = Config.fromfile(config_file)
    config.model.pop("data_preprocessor")
    with pytest.raises(InputError, match="data_preprocessor"):
        next(iter(browse_pairs(config)))
