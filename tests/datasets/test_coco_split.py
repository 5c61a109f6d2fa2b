import hashlib
import json
import random
import subprocess
import sys
from collections import Counter

import pytest

from mmsscl.datasets.coco_split import ranked_ids, write_coco_split
from mmsscl.errors import InputError
from tests.sample_runs import ROOT


def write_set(file, images=400, classes=3):
    """Every image shows every class once, but for the last image and class, which only that image shows."""
    content = dict(
        info=dict(year=2017),
        licenses=[dict(id=4)],
        images=[dict(id=index * 7 + 1, file_name=f"ü{index}.jpg", width=64, height=48) for index in range(images)],
        categories=[dict(id=index + 1, name=f"kind{index}") for index in range(classes)],
    )
    content["annotations"] = [
        dict(id=number + 1, image_id=image["id"], category_id=category, bbox=[1, 2, 3, 4], area=12, iscrowd=0)
        for number, (image, category) in enumerate((image, category) for image in content["images"] for category in (1, 2))
    ]
    content["annotations"][-1]["category_id"] = classes
    file.write_text(json.dumps(content), encoding="utf-8")
    return content


def read(file):
    return json.loads(file.read_text(encoding="utf-8"))


def ids(content):
    return {image["id"] for image in content["images"]}


def test_shares_lie_within_each_other_and_keep_what_belongs_to_them(tmp_path):
    whole = write_set(tmp_path / "all.json", classes=2)
    shares = {}
    for percent, count in ((0.1, 1), (1, 4), (10, 40), (50, 200), (99.9, 400)):
        file = tmp_path / f"{percent}.json"
        split = write_coco_split(tmp_path / "all.json", file, percent, allow_missing_classes=True)
        shares[percent] = read(file)
        assert split.images == len(shares[percent]["images"]) == count
        assert split.annotations == len(shares[percent]["annotations"]) == 2 * count
    assert ids(shares[0.1]) < ids(shares[1]) < ids(shares[10]) < ids(shares[50])
    ten = shares[10]
    assert all(ten[key] == whole[key] for key in ("info", "licenses", "categories"))
    assert ten["annotations"] == [entry for entry in whole["annotations"] if entry["image_id"] in ids(ten)]
    assert ten["images"] == [image for image in whole["images"] if image["id"] in ids(ten)]


def test_choice_depends_on_ids_and_fold_alone(tmp_path):
    whole = write_set(tmp_path / "all.json", classes=2)
    shuffled = dict(whole, images=random.Random(1).sample(whole["images"], len(whole["images"])))
    (tmp_path / "shuffled.json").write_text(json.dumps(shuffled))
    chosen = {}
    for name, fold in (("all", 0), ("shuffled", 0), ("all", 1)):
        write_coco_split(tmp_path / f"{name}.json", tmp_path / "out.json", 10, fold)
        chosen[name, fold] = ids(read(tmp_path / "out.json"))
    assert chosen["all", 0] == chosen["shuffled", 0]
    assert chosen["all", 0] != chosen["all", 1]


def test_order_is_the_one_that_was_published():
    """Literal values: a change of the rule would change everybody's split."""
    assert ranked_ids(range(12)) == [7, 4, 9, 10, 3, 8, 2, 6, 0, 5, 11, 1]
    wanted = sorted(range(1000), key=lambda value: hashlib.sha256(b"3:%d" % value).hexdigest())
    assert ranked_ids(range(1000), 3) == wanted
    assert ranked_ids(["b", "a"]) == ranked_ids(["a", "b"])


def test_choice_is_uniform():
    counts = Counter(index for fold in range(400) for index in ranked_ids(range(50), fold)[:5])
    # each is taken 40 times in the mean, standard deviation 6
    assert len(counts) == 50
    assert min(counts.values()) > 15
    assert max(counts.values()) < 65


def test_command_writes_the_same_bytes_in_another_process(tmp_path):
    source = tmp_path / "all.json"
    write_set(source, classes=2)
    command = [sys.executable, str(ROOT / "tools/data/split_coco.py"), str(source), "--percent", "2.5", "10"]
    command += ["--fold", "7", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, env={"PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True)
    assert "all.7@2.5.json: 10 images, 20 annotations" in done.stdout
    write_coco_split(source, tmp_path / "here.json", 10, fold=7)
    assert (tmp_path / "out" / "all.7@10.json").read_bytes() == (tmp_path / "here.json").read_bytes()


def test_lost_class_is_named(tmp_path):
    source, output = tmp_path / "all.json", tmp_path / "out.json"
    write_set(source, classes=4)  # the third has no object in the whole file either
    with pytest.raises(InputError, match=r"all\.json: 1 % of its images \(4, fold 0\) show no kind3 \(1 of the classes"):
        write_coco_split(source, output, 1)
    assert not output.exists()
    assert write_coco_split(source, output, 1, allow_missing_classes=True).absent == ("kind3",)
    assert len(read(output)["categories"]) == 4


@pytest.mark.parametrize("percent", [0, -1, 100, 101, float("nan"), float("inf"), True])
def test_percentage_out_of_range_is_refused(tmp_path, percent):
    write_set(tmp_path / "all.json")
    with pytest.raises(InputError, match=r"percent: .* is no share"):
        write_coco_split(tmp_path / "all.json", tmp_path / "out.json", percent)


@pytest.mark.parametrize("fold", [-1, 0.5, True])
def test_strange_fold_is_refused(tmp_path, fold):
    write_set(tmp_path / "all.json")
    with pytest.raises(InputError, match=r"fold: .* is no number"):
        write_coco_split(tmp_path / "all.json", tmp_path / "out.json", 10, fold)


def test_source_is_never_overwritten(tmp_path):
    source = tmp_path / "all.json"
    write_set(source)
    (tmp_path / "link.json").symlink_to(source)
    before = source.read_bytes()
    for output in (source, tmp_path / "link.json", tmp_path / "x" / ".." / "all.json"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(InputError, match="would be lost"):
            write_coco_split(source, output, 10)
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(images=[]), r"all\.json: has no 'images'"),
        (dict(categories=None), r"all\.json: has no 'categories'"),
        (dict(images=[dict(id=1, file_name="a", width=1, height=1)] * 2), "has the id 1 of images"),
    ],
)
def test_faulty_json_is_named(tmp_path, changes, message):
    content = write_set(tmp_path / "all.json") | changes
    (tmp_path / "all.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        write_coco_split(tmp_path / "all.json", tmp_path / "out.json", 10)


def test_absent_files_and_places_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.json: cannot be read"):
        write_coco_split(tmp_path / "none.json", tmp_path / "out.json", 10)
    write_set(tmp_path / "all.json", classes=2)
    with pytest.raises(InputError, match=r"cannot be written"):
        write_coco_split(tmp_path / "all.json", tmp_path / "all.json" / "out.json", 10)
