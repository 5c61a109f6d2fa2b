"""Parts of labelled folders: drawn alike on every machine, read from lists, and what is refused."""
import importlib.util
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmsscl.datasets.label_split import class_files, read_label_list, split_labels, with_labels
from mmsscl.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"ant": 30, "bee": 7, "n01440764": 3}


def load_tool():
    spec = importlib.util.spec_from_file_location("split_labels_tool", ROOT / "tools/data/split_labels.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("labelled") / "train"
    for name, count in NAMES.items():
        (root / name / "deep").mkdir(parents=True)
        for index in range(count):
            place = root / name / "deep" if name == "bee" else root / name
            cv2.imwrite(str(place / f"{name}_{index}.JPEG"), np.full((8, 8, 3), index, np.uint8))
    (root / "README.txt").write_text("no class")
    (root / ".hidden").mkdir()
    return root


def test_classes_are_the_sorted_folders_and_paths_have_slashes(folder):
    files = class_files(folder)
    assert {name: len(paths) for name, paths in files.items()} == NAMES
    assert list(files) == sorted(NAMES)
    assert files["bee"] == sorted(files["bee"])
    assert files["bee"][0] == "bee/deep/bee_0.JPEG"


def test_the_draw_is_this_one_on_every_machine():
    # the order that `printf SEED:PATH | sha256sum` gives in a shell
    files = {"a": [f"a/{index}.jpg" for index in range(10)], "b": ["b/x.jpg", "b/y.jpg"]}
    assert split_labels(files, shots=2, seed=0) == {"a": ["a/3.jpg", "a/7.jpg"], "b": ["b/x.jpg", "b/y.jpg"]}
    assert split_labels(files, percent=50, seed=7)["a"] == [f"a/{index}.jpg" for index in (0, 1, 2, 5, 8)]


def test_shares_are_nested_stratified_and_independent_of_order():
    files = {name: [f"{name}/{index}.jpg" for index in range(count)] for name, count in (("a", 1300), ("b", 732), ("c", 1))}
    chosen = {percent: split_labels(files, percent, seed=3) for percent in (0.01, 1, 10, 50, 100)}
    for smaller, larger in zip(list(chosen)[:-1], list(chosen)[1:]):
        assert all(set(chosen[smaller][name]) <= set(chosen[larger][name]) for name in files)
    assert {name: len(paths) for name, paths in chosen[1].items()} == {"a": 13, "b": 7, "c": 1}
    assert {name: len(paths) for name, paths in chosen[0.01].items()} == {"a": 1, "b": 1, "c": 1}
    assert chosen[100] == {name: sorted(paths) for name, paths in files.items()}
    mixed = {name: paths[::-1] for name, paths in files.items()}
    assert split_labels(mixed, 10, seed=3) == chosen[10]
    assert split_labels(files, 10, seed=4) != chosen[10]
    # a photo that goes leaves the others' order: all but it are still taken
    fewer = files | {"a": [path for path in files["a"] if path != chosen[10]["a"][0]]}
    assert set(chosen[10]["a"][1:]) <= set(split_labels(fewer, 10, seed=3)["a"])


def test_every_photo_is_drawn_equally_often():
    files = {"a": [f"a/{index}.jpg" for index in range(20)]}
    counts = np.zeros(20)
    for seed in range(400):
        for path in split_labels(files, shots=5, seed=seed)["a"]:
            counts[int(path[2:-4])] += 1
    # binomial: mean 100, deviation 8.7
    assert counts.min() > 65
    assert counts.max() < 135


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give one of the two"),
        ({"percent": 1, "shots": 1}, "give one of the two"),
        ({"percent": 0}, "percent=0"),
        ({"percent": 101}, "percent=101"),
        ({"percent": float("nan")}, "percent=nan"),
        ({"shots": 0}, "shots=0"),
        ({"shots": 4}, r"class 'few': has 3 photos, fewer than shots=4"),
    ],
)
def test_bad_shares_are_refused(options, message):
    files = {"many": [f"many/{i}" for i in range(9)], "few": ["few/1", "few/2", "few/3"]}
    with pytest.raises(InputError, match=message):
        split_labels(files, **options)


def test_a_class_without_photos_is_named(folder, tmp_path):
    with pytest.raises(InputError, match="class 'none': has no photos"):
        split_labels({"none": []}, percent=10)
    (tmp_path / "cat").mkdir()
    (tmp_path / "dog").mkdir()
    cv2.imwrite(str(tmp_path / "dog/1.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(InputError, match=r"cat: no images in this folder"):
        class_files(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        class_files(tmp_path / "absent")
    with pytest.raises(InputError, match="holds 0 class folders"):
        class_files(tmp_path / "dog")


def test_published_and_plain_lists_are_read(folder, tmp_path):
    lines = ["n01440764_2.JPEG", "", "ant_29.JPEG", "bee/deep/bee_1.JPEG", "ant/ant_3.JPEG 0"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    found = read_label_list(tmp_path / "list.txt", folder, sorted(NAMES))
    assert found == [
        ("n01440764/n01440764_2.JPEG", 2), ("ant/ant_29.JPEG", 0), ("bee/deep/bee_1.JPEG", 1), ("ant/ant_3.JPEG", 0)
    ]  # fmt: skip


WHOLE = "ant/ant_0.JPEG 0\nbee/deep/bee_0.JPEG 1\nn01440764/n01440764_0.JPEG 2\n"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("ant/ant_77.JPEG 0", r"line 4: ant/ant_77\.JPEG is not in"),
        ("ant/ant_1.JPEG 3", r"line 4: label 3 of ant/ant_1\.JPEG is outside the 3 classes"),
        ("ant/ant_1.JPEG 1", r"line 4: label 1 does not fit ant/ant_1\.JPEG, whose folder is class 0"),
        ("wasp_1.JPEG", r"line 4: 'wasp_1\.JPEG' does not tell its class: 'wasp' is none"),
        ("wasp/1.JPEG", r"line 4: 'wasp' is no class"),
        ("ant/ant_0.JPEG 0", r"line 4: ant/ant_0\.JPEG is in line 1 already"),
    ],
)
def test_lines_that_do_not_fit_are_named(folder, tmp_path, more, message):
    (tmp_path / "list.txt").write_text(WHOLE + more)
    with pytest.raises(InputError, match=message):
        read_label_list(tmp_path / "list.txt", folder, sorted(NAMES))


def test_lists_that_lack_a_class_or_are_none_are_refused(folder, tmp_path):
    file = tmp_path / "list.txt"
    with pytest.raises(InputError, match=r"list\.txt: the list cannot be read"):
        read_label_list(file, folder, sorted(NAMES))
    file.write_text("ant_0.JPEG\n")
    with pytest.raises(InputError, match=r"lists no photo of 2 of the 3 classes \(bee, n01440764\)"):
        read_label_list(file, folder, sorted(NAMES))
    file.write_text("\n\n")
    with pytest.raises(InputError, match="names no photo"):
        read_label_list(file, folder, sorted(NAMES))
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a text file"):
        read_label_list(file, folder, sorted(NAMES))


def test_the_tool_writes_lists_that_are_read_back(folder, tmp_path, capsys):
    tool = load_tool()
    out = tmp_path / "deep" / "train_10percent.txt"
    assert tool.main([str(folder), "--percent", "10", "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == f"{out}: 5 photos of 3 classes, 1 to 3 of each"
    wanted = with_labels(split_labels(class_files(folder), 10))
    assert read_label_list(out, folder, sorted(NAMES)) == wanted
    published = tmp_path / "published.txt"
    published.write_text("ant_5.JPEG\nbee/deep/bee_1.JPEG\nn01440764_0.JPEG\n")
    assert tool.main([str(folder), "--list", str(published), "--out", str(out)]) == 0
    assert out.read_text() == "ant/ant_5.JPEG 0\nbee/deep/bee_1.JPEG 1\nn01440764/n01440764_0.JPEG 2\n"
    assert tool.main([str(folder), "--shots", "4", "--out", str(out)]) == 2
    assert "class 'n01440764': has 3 photos" in capsys.readouterr().err
    assert out.read_text().startswith("ant/ant_5.JPEG"), "a failed call leaves the old list"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_list_that_cannot_be_written_is_said(folder, capsys):
    assert load_tool().main([str(folder), "--shots", "1", "--out", "/list.txt"]) == 2
    assert "cannot be written" in capsys.readouterr().err
