import os

import pytest
from PIL import Image

from mmsscl.datasets.transforms import LoadSceneImage
from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS


def test_loads_the_header(tmp_path):
    path = str(tmp_path / "photo.jpg")
    Image.new("RGB", (31, 17), (250, 10, 10)).save(path)
    results = TRANSFORMS.build({"type": "LoadSceneImage"})({"img_path": path, "epoch": 2})
    assert results["epoch"] == 2
    image = results["image"]
    assert (image.height, image.width, image.path) == (17, 31, path)
    assert image.decode()[8, 8, 0] > 240


def test_reads_through_a_backend(tmp_path):
    path = str(tmp_path / "photo.png")
    Image.new("RGB", (5, 6)).save(path)
    load = LoadSceneImage(backend_args={"backend": "local"})
    assert load({"img_path": path})["image"].height == 6


def test_absent_and_unreadable_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.jpg: the image is absent.*data_root"):
        LoadSceneImage()({"img_path": str(tmp_path / "gone.jpg")})
    with pytest.raises(InputError, match="cannot be read"):
        LoadSceneImage()({"img_path": str(tmp_path)})
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(InputError, match=r"empty\.jpg: the file is empty"):
        LoadSceneImage()({"img_path": str(tmp_path / "empty.jpg")})
    assert "LoadSceneImage" in repr(LoadSceneImage())
    assert os.sep not in repr(LoadSceneImage())
