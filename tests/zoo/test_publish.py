"""A backbone that was published is found, with its figures and its hash, here and through a mirror."""
import hashlib
import json
import subprocess
import sys
import threading

import pytest
import torch
from modelindex.load_model_index import load

from mmsscl.errors import InputError
from mmsscl.zoo.cache import own_zoo
from mmsscl.zoo.catalogue import all_entries, read_index
from mmsscl.zoo.fetch import check_files, fetch
from mmsscl.zoo.file_hash import sha256_of
from mmsscl.zoo.metrics_file import facts_of, read_metrics
from mmsscl.zoo.publish import publish
from mmsscl.zoo.safe_load import load_checkpoint
from mmsscl.zoo.safetensors_file import to_bytes

SUMMARY = {
    "seed": 3,
    "pretrain": {"config": "configs/quickstart/scrl_r18_toy.py", "images": 1600, "epochs": 4.0},
    "transfer": {"detector": "Faster R-CNN", "bbox_mAP": 0.2, "bbox_mAP_50": 0.5, "random_bbox_mAP": 0.1, "seconds": 9.0},
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMSSCL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MMSSCL_ZOO", raising=False)


@pytest.fixture(scope="module")
def backbone(exported):
    return exported.online, sha256_of(exported.online)


@pytest.fixture(scope="module")
def other(exported):
    return exported.target, sha256_of(exported.target)


def test_published_in_the_own_zoo(backbone):
    file, digest = backbone
    results = [{"Task": "Detection", "Dataset": "mine", "Metrics": {"box AP": 12.5}}]
    placed = publish(file, "mine", facts={"method": "SCRL", "Training Data": "photos", "Epochs": 12.0}, results=results)
    assert placed == own_zoo() / f"mine-{digest[:8]}.pth"
    assert hashlib.sha256(placed.read_bytes()).hexdigest() == digest
    entry = all_entries(print)["mine"]
    assert (entry.status, entry.sha256, entry.method) == ("local", digest, "SCRL")
    assert entry.metadata == {
        "Backbone": "ResNet-18", "Training Data": "photos", "Epochs": 12, "Branch": "online", "Made With": "mmsscl 0.1.0",
        "Mean": [123.675, 116.28, 103.53], "Std": [58.395, 57.12, 57.375], "Channel Order": "RGB",
    }  # fmt: skip
    assert entry.results[0].metrics == {"box AP": 12.5}
    assert fetch(entry, print) == placed
    assert [check.ok for check in check_files(["mine"])] == [True]
    placed.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"is not the file that was published.*--replace"):
        fetch(entry, print)
    placed.unlink()
    with pytest.raises(InputError, match="is gone"):
        fetch(entry, print)


def test_published_into_a_folder_that_is_a_mirror(backbone, other, tmp_path, monkeypatch):
    publish(backbone[0], "mine", tmp_path / "zoo")
    publish(other[0], "yours", tmp_path / "zoo")
    publish(backbone[0], "mine", tmp_path / "zoo")
    assert "mine" not in all_entries(print)
    monkeypatch.setenv("MMSSCL_ZOO", (tmp_path / "zoo").as_uri())
    entries = all_entries(print)
    assert entries["mine"].status == "verified"
    assert hashlib.sha256(fetch(entries["yours"], print).read_bytes()).hexdigest() == other[1]
    # the tools of OpenMMLab read it too
    models = {model.name: model for model in load(str(tmp_path / "zoo" / "model-index.yml")).models}
    assert set(models) == {"mine", "yours"}
    assert models["mine"].data["SHA256"] == backbone[1]


def test_the_packages_entry_says_what_the_command_line_does_not(backbone, tmp_path):
    file = tmp_path / "summary.json"
    file.write_text(json.dumps(SUMMARY))
    assert all_entries(print)["scrl_r18_toy"].status == "built by a command"
    publish(backbone[0], "scrl_r18_toy", facts=facts_of(file), results=read_metrics(file))
    entry = all_entries(print)["scrl_r18_toy"]
    assert (entry.status, entry.method, entry.config) == ("local", "SCRL", "configs/quickstart/scrl_r18_toy.py")
    assert entry.metadata["Training Data"] == "1,600 embedded scenes"
    (result,) = entry.results
    assert (result.task, result.dataset) == ("Object Detection", "embedded scenes, seed 3, Faster R-CNN")
    assert result.metrics == {"bbox_mAP": 0.2, "bbox_mAP_50": 0.5, "random_bbox_mAP": 0.1}


def test_the_same_file_again_adds_to_its_entry(backbone):
    results = [{"Task": "Detection", "Dataset": "mine", "Metrics": {"box AP": 12.5}}]
    publish(backbone[0], "scrl_r18_toy", facts={"method": "Mine", "Training Data": "photos"}, results=results)
    publish(backbone[0], "scrl_r18_toy", facts={"Epochs": 3.0})
    entry = all_entries(print)["scrl_r18_toy"]
    assert (entry.method, entry.metadata["Training Data"], entry.metadata["Epochs"]) == ("Mine", "photos", 3)
    assert entry.results[0].metrics == {"box AP": 12.5}


@pytest.mark.parametrize("index", [
    None, "Import: [other.yml]", "Import: [other.yml, metafile.yml]", "Models: [{Name: old, Built By: make}]",
])  # fmt: skip
def test_what_is_in_the_folder_stays_and_the_new_one_is_listed(backbone, tmp_path, index):
    if index is not None:
        (tmp_path / "model-index.yml").write_text(index)
    (tmp_path / "other.yml").write_text("Models: [{Name: old, Built By: make}]")
    (tmp_path / "metafile.yml").write_text("" if index is None else "Ours: kept")
    publish(backbone[0], "mine", tmp_path)
    names = [entry.name for entry in read_index(tmp_path.as_uri(), "own")]
    assert sorted(names) == (["mine"] if index is None else ["mine", "old"])
    assert index is None or "Ours: kept" in (tmp_path / "metafile.yml").read_text()


@pytest.mark.parametrize(("index", "metafile", "words"), [
    (None, "Models: [", "metafile.yml: line 1: no YAML"), (None, "- a", "metafile.yml: holds a list"),
    (None, "Models: [3]", r"Models\[0\]: is 3"), (None, "Collections: [{}]", r"Collections\[0\].Name: is missing"),
    ("Import: 3", "", "Import: is no list"), ("Models: [{Name: mine}]", "", "the name mine is in .*model-index.yml already"),
])  # fmt: skip
def test_folders_that_cannot_be_published_into(backbone, tmp_path, index, metafile, words):
    (tmp_path / "metafile.yml").write_text(metafile)
    if index is not None:
        (tmp_path / "model-index.yml").write_text(index)
    before = sorted(file.name for file in tmp_path.iterdir())
    with pytest.raises(InputError, match=words):
        publish(backbone[0], "mine", tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir() if file.name != ".lock") == before
    assert (tmp_path / "metafile.yml").read_text() == metafile


def test_safetensors_stay_safetensors(backbone, tmp_path):
    content = torch.load(backbone[0], weights_only=True)
    (tmp_path / "online.safetensors").write_bytes(to_bytes(content["state_dict"], content["meta"]))
    placed = publish(tmp_path / "online.safetensors", "mine")
    assert placed.suffix == ".safetensors"
    assert load_checkpoint(placed)["state_dict"].keys() == content["state_dict"].keys()
    assert all_entries(print)["mine"].metadata["Mean"] == [123.675, 116.28, 103.53]


@pytest.mark.parametrize("library", ["detectron2", "torchvision", "timm"])
def test_files_for_other_libraries_are_refused(backbone, tmp_path, library):
    content = torch.load(backbone[0], weights_only=True)
    content["meta"]["layout"] = library
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(InputError, match=rf"was exported for {library}.*--to mmdet"):
        publish(tmp_path / "other.pth", "mine")


def test_what_is_refused(backbone, other, exported, tmp_path):
    publish(backbone[0], "mine")
    with pytest.raises(InputError, match=r"--name mine: .*has another file of this name.*--replace"):
        publish(other[0], "mine")
    assert publish(other[0], "mine", replace=True).name == f"mine-{other[1][:8]}.pth"
    assert all_entries(print)["mine"].sha256 == other[1]
    with pytest.raises(InputError, match="the package lists a file of this name"):
        publish(other[0], "scrl_r50_3rdparty-200e_in1k")
    with pytest.raises(InputError, match=r"checkpoint of training.*mmsscl export"):
        publish(exported.checkpoint, "run")
    for name in ("../run", "/run", "a b", ""):
        with pytest.raises(InputError, match="is no name"):
            publish(backbone[0], name)
    with pytest.raises(InputError, match=r"--into .* is a file"):
        publish(backbone[0], "run", backbone[0])
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "plain.pth")
    with pytest.raises(InputError, match="holds no training config"):
        publish(tmp_path / "plain.pth", "run")
    (own_zoo() / "metafile.yml").write_text("Models: 3")
    with pytest.raises(InputError, match=r"metafile.yml: Models: is 3"):
        publish(backbone[0], "run")


def test_figures_that_are_refused(tmp_path):
    file = tmp_path / "metrics.json"
    for text, words in (
        ("{", "cannot be read"), ("[1]", "holds a list"), ("{}", "no figures"), ('{"a": "b"}', "a is .*no number"),
        ('{"a": NaN}', "a is NaN, no number"), ('{"a": Infinity}', "a is Infinity"), ("[" * 1500, "cannot be read"),
        ('{"seed": 0, "pretrain": {}, "transfer": {"bbox_mAP": 1}}', "transfer.detector is missing.*--dataset TEXT"),
        ('{"a": 1}', "--task TEXT --dataset TEXT"),
    ):  # fmt: skip
        file.write_text(text)
        with pytest.raises(InputError, match=words):
            read_metrics(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_metrics(tmp_path / "none.json")
    assert read_metrics(file, "T", "D") == [{"Task": "T", "Dataset": "D", "Metrics": {"a": 1}}]
    assert facts_of(file) == {}
    for key in ("images", "epochs"):
        file.write_text(json.dumps({**SUMMARY, "pretrain": {key: "many"}}))
        with pytest.raises(InputError, match=f'pretrain.{key} is "many", no number'):
            facts_of(file)


def test_two_at_once_both_stay(backbone, other, tmp_path):
    threads = [
        threading.Thread(target=publish, args=(file, name, tmp_path / "zoo"))
        for name, (file, _) in {"mine": backbone, "yours": other}.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {model.name for model in load(str(tmp_path / "zoo" / "model-index.yml")).models} == {"mine", "yours"}


def test_a_full_disk_lists_nothing(backbone, small_disk):
    disk = small_disk(1 << 20)
    with pytest.raises(InputError, match="No space left"):
        publish(backbone[0], "mine", disk / "zoo")
    assert sorted(file.name for file in (disk / "zoo").iterdir()) == [".lock"]


def test_reading_the_catalogue_needs_no_torch():
    code = "import sys; from mmsscl.zoo.catalogue import all_entries; all_entries(print); import mmsscl.zoo.fetch\n" \
        "import mmsscl.cli.zoo; print(sorted({'torch', 'mmcv', 'mmengine', 'mmpretrain'} & set(sys.modules)))"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
