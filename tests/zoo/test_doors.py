"""No way into the library runs the code that a checkpoint brings, unless the user says so."""
import functools
import http.server
import os
import threading

import pytest
import torch

from mmsscl.cli import main
from mmsscl.engine.train import train
from mmsscl.errors import InputError
from tests.sample_runs import NARROW, ROOT, write_photos, write_pretraining_config

SMALL = NARROW + """
train_dataloader.update(batch_size=2)
train_cfg = dict(type="ResumableEpochLoop", max_epochs=1)
default_hooks["checkpoint"] = dict(type="SafeCheckpointHook", interval=1)
"""


class MakesFolder:
    """A harmless stand-in for code that does harm."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_pretraining_config(tmp_path_factory.mktemp("doors"), 4, SMALL)


@pytest.fixture
def evil(tmp_path):
    """A checkpoint of a run, but for one thing in it; and what would be there if that were run."""
    target = tmp_path / "made_by_the_file"
    state = {"backbone.weight": torch.ones(3)}
    content = {"state_dict": state, "meta": {"epoch": 1, "iter": 2}, "message_hub": {}, "extra": MakesFolder(target)}
    file = tmp_path / "run" / "epoch_1.pth"
    file.parent.mkdir()
    torch.save(content, file)
    return file, target


@pytest.fixture
def server(tmp_path):
    """The address under which the folder is served."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listener:
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listener.server_port}"
        listener.shutdown()
        thread.join()


INIT = "model.backbone.init_cfg"
VERBS = {
    "resume": ["train", "{config}", "--resume", "{file}"],
    "load_from": ["train", "{config}", "--cfg-options", "load_from={file}"],
    "Pretrained": ["train", "{config}", "--cfg-options", f"{INIT}.type=Pretrained", f"{INIT}.checkpoint={{file}}"],
    "test": [
        "test", str(ROOT / "configs/classify/linear_r50_folder.py"), "{file}", "--work-dir", "{folder}/work",
        "--cfg-options", "dataset_from_folders.train={labelled}", "dataset_from_folders.val={labelled}",
    ],
    **{
        f"eval {verb}": ["eval", verb, "{file}", "--train", "{labelled}", "--val", "{labelled}"]
        for verb in ("knn", "linear", "svm")
    },
    "eval regions": ["eval", "regions", "{file}", "--images", "{photos}"],
    "export": ["export", "{file}", "{folder}/backbone.pth"],
    "predict": ["predict", "{config}", "{file}", "{photos}"],
    "browse saliency": ["browse", "saliency", "{config}", "{file}", "--estimator", "GeodesicSaliency"],
    "eval saliency": [
        "eval", "saliency", "{config}", "{file}", "--estimator", "GeodesicSaliency", "--images", "{photos}",
        "--masks", "{photos}",
    ],
}  # fmt: skip


def run(verb, config, file, folder):
    places = {"photos": config.parent / "photos", "labelled": folder / "labelled"}
    for name in ("one", "two"):
        write_photos(places["labelled"] / name, 12, 20)
    words = [word.format(config=config, file=file, folder=folder, **places) for word in VERBS[verb]]
    if words[0] == "train":
        words += ["--work-dir", str(folder / "work")]
    return main(words)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_file_with_code_is_refused_and_not_run(config, evil, tmp_path, capsys, monkeypatch, verb):
    file, target = evil
    if verb == "eval saliency":
        monkeypatch.setattr("mmsscl.evaluation.eval_saliency.masked_photos", lambda *_: None)
    assert run(verb, config, file, tmp_path) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ")
    assert f"checkpoint {file}: refused, because loading it would run code from the file (posix.mkdir)" in said
    assert "--allow-pickle, or MMSSCL_ALLOW_PICKLE=1" in said
    assert not target.exists()


def test_the_newest_checkpoint_of_a_run_too(config, evil):
    file, target = evil
    with pytest.raises(InputError, match="none of its 1 checkpoints can be resumed from"):
        train(config, work_dir=str(file.parent), resume="auto")
    assert not target.exists()


@pytest.mark.parametrize("door", ["load_from", "Pretrained"])
def test_a_download_with_code_is_refused_and_not_run(config, evil, server, tmp_path, monkeypatch, door):
    _, target = evil
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    address = f"{server}/run/epoch_1.pth"
    options = {"load_from": address} if door == "load_from" else {
        "model.backbone.init_cfg": {"type": "Pretrained", "checkpoint": address}
    }  # fmt: skip
    with pytest.raises(InputError, match=r"refused, because loading it would run code from the file \(posix\.mkdir\)"):
        train(config, work_dir=str(tmp_path / "work"), options=options)
    assert (tmp_path / "cache" / "hub" / "checkpoints" / "epoch_1.pth").exists(), "it was not even fetched"
    assert not target.exists()


def test_a_download_without_code_is_loaded_and_kept(config, server, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    first = train(config, work_dir=str(tmp_path / "run"))
    options = {"load_from": f"{server}/run/epoch_1.pth", "optim_wrapper.optimizer.lr": 0.0}
    second = train(config, work_dir=str(tmp_path / "second"), options=options)
    assert torch.equal(first.model.state_dict()["backbone.conv1.weight"], second.model.state_dict()["backbone.conv1.weight"])
    (tmp_path / "run" / "epoch_1.pth").unlink()
    train(config, work_dir=str(tmp_path / "third"), options=options)


def test_a_run_goes_on_from_an_address(config, server, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    train(config, work_dir=str(tmp_path / "run"))
    options = {"train_cfg.max_epochs": 2}
    runner = train(config, work_dir=str(tmp_path / "rest"), resume=f"{server}/run/epoch_1.pth", options=options)
    assert (runner.epoch, runner.iter) == (2, 4)
    assert len(runner.message_hub.get_scalar("train/loss").data[0]) == 4


@pytest.mark.parametrize("path", ["absent.pth", "photo.txt"])
def test_a_download_that_fails_is_explained(config, server, tmp_path, monkeypatch, path):
    (tmp_path / "photo.txt").write_text("not a checkpoint")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    match = r"absent\.pth: cannot be downloaded to .*404.*give its path" if path == "absent.pth" else "is a text file"
    with pytest.raises(InputError, match=match):
        train(config, work_dir=str(tmp_path / "work"), options={"load_from": f"{server}/{path}"})


@pytest.mark.parametrize("way", ["flag", "variable"])
def test_who_trusts_a_file_may_say_so(config, evil, tmp_path, monkeypatch, capfd, way):
    file, target = evil
    monkeypatch.setenv("MMSSCL_ALLOW_PICKLE", "1" if way == "variable" else "")
    words = ["export", str(file), str(tmp_path / "backbone.pth"), *(["--allow-pickle"] if way == "flag" else [])]
    # it stops later: there is no config in this checkpoint
    assert main(words) == 2
    assert "refused" not in "".join(capfd.readouterr())
    assert target.is_dir()
