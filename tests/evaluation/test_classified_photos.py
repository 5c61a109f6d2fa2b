import json
from pathlib import Path

import numpy as np
import pytest

from mmsscl.errors import InputError
from mmsscl.evaluation.classified_photos import labelled_folder, labelled_json, require_same_classes
from tests.sample_runs import write_coco, write_photos


@pytest.fixture
def folder(tmp_path):
    for name, count in (("cat", 3), ("dog", 2)):
        write_photos(tmp_path / "set" / name, count, 20)
    (tmp_path / "set/.hidden").mkdir()
    (tmp_path / "set/notes.txt").write_text("no class")
    return tmp_path / "set"


def test_folders_are_classes(folder):
    photos = labelled_folder(folder)
    assert photos.classes == ["cat", "dog"]
    assert photos.labels.tolist() == [0, 0, 0, 1, 1]
    names = ["cat/0.jpg", "cat/1.jpg", "cat/2.jpg", "dog/0.jpg", "dog/1.jpg"]
    assert photos.paths == [str(folder / name) for name in names]


def test_folders_with_a_fault_are_told(folder, tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder\. Give one that holds a folder"):
        labelled_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds 0 class folders"):
        labelled_folder(folder / "cat")
    (folder / "cow").mkdir()
    with pytest.raises(InputError, match="cow: no images in this folder"):
        labelled_folder(folder)


def test_a_json_gives_all_classes_of_a_photo(tmp_path):
    options = write_coco(tmp_path, ("red", "green", "blue"))
    file, images = options["dataset_from_json.train"], options["dataset_from_json.images"]
    content = json.loads(Path(file).read_text())
    gone = ((1, 50), (2, 49))
    content["annotations"] = [a for a in content["annotations"] if (a["image_id"], a["category_id"]) not in gone]
    next(a for a in content["annotations"] if (a["image_id"], a["category_id"]) == (3, 48))["iscrowd"] = 1
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 4]
    (tmp_path / "some.json").write_text(json.dumps(content))
    photos = labelled_json(tmp_path / "some.json", images)
    assert photos.classes == ["red", "green", "blue"]
    wanted = [[0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0]]
    np.testing.assert_array_equal(photos.targets, np.array(wanted, bool))
    with pytest.raises(InputError, match=r"0\.jpg: has 2 classes"):
        _ = photos.labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a json file"),
        ("[]", "holds a list, not an object"),
        ('{"images": [], "annotations": []}', "has no 'images'"),
    ],
)
def test_jsons_with_a_fault_are_told(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=rf"a\.json: {message}"):
        labelled_json(tmp_path / "a.json", tmp_path)
    with pytest.raises(InputError, match=r"none\.json: cannot be read"):
        labelled_json(tmp_path / "none.json", tmp_path)


def test_other_classes_are_told(folder, tmp_path):
    write_photos(tmp_path / "val/cat", 1, 20)
    write_photos(tmp_path / "val/cow", 1, 20)
    one, other = labelled_folder(folder), labelled_folder(tmp_path / "val")
    with pytest.raises(InputError, match=r"A and B hold other classes \(only in A: dog; only in B: cow\)"):
        require_same_classes(one, other, "A", "B")
    require_same_classes(one, one, "A", "B")
    with pytest.raises(InputError, match="in another order"):
        require_same_classes(one, one._replace(classes=["dog", "cat"]), "A", "B")
