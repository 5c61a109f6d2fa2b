"""The verb: what it prints, and where."""
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmsscl import cli
from mmsscl.zoo.file_hash import sha256_of
from tests.sample_runs import ROOT
from tests.zoo_server import ZooServer

CONTENT = bytes(3_000_000)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMSSCL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("MMSSCL_ZOO", raising=False)
    monkeypatch.setattr("mmsscl.zoo.transport.PAUSE", 0.001)


@pytest.fixture
def zoo(capsys):
    """Runs the verb; status, standard output and standard error."""

    def run(*words):
        status = cli.main(["zoo", *map(str, words)])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def mirror(monkeypatch):
    """A server whose index lists a file, "mine"."""
    with ZooServer() as server:
        index = f"Models: [{{Name: mine, Weights: a.pth, SHA256: {hashlib.sha256(CONTENT).hexdigest()}}}]"
        server.files |= {"/model-index.yml": index.encode(), "/a.pth": CONTENT}
        monkeypatch.setenv("MMSSCL_ZOO", server.url)
        yield server


def test_the_table_and_its_filter(zoo):
    status, out, _ = zoo("list")
    lines = out.splitlines()
    assert status == 0
    assert lines[0].split()[:4] == ["name", "method", "backbone", "trained"]
    toy = next(line for line in lines if line.startswith("scrl_r18_toy "))
    assert toy.split("  ")[-1].strip() == "built by: bash tools/quickstart.sh"
    _, out, _ = zoo("list", "UNVERIFIED", "byol")
    names = [line.split()[0] for line in out.splitlines()[1:]]
    assert names == ["byol_r50_3rdparty-200e_in1k", "byol_r50_3rdparty-1000e_in1k"]
    status, _, error = zoo("list", "quux")
    assert status == 2
    assert "no line holds quux" in error


def test_show_says_whose_the_figures_are_and_how_to_use_it(zoo):
    _, out, _ = zoo("show", "scrl_r50_3rdparty-1000e_in1k")
    for words in (
        "epochs         1000", "sha256         not known", "box AP 40.92", "measured by the authors, https://github.com/kakaobrain/scrl",
        "init_cfg=dict(type='Pretrained'", "$(mmsscl zoo download scrl_r50_3rdparty-1000e_in1k --allow-unverified)",
    ):  # fmt: skip
        assert words in out
    _, out, _ = zoo("show", "scrl_r18_toy")
    assert "bbox_mAP 0.279" in out
    assert "measured by us" in out
    assert "bash tools/quickstart.sh" in out
    status, _, error = zoo("show", "scrl_r18_tot")
    assert status == 2
    assert "Did you mean scrl_r18_toy" in error


def test_from_one_machine_to_another(zoo, exported, tmp_path, monkeypatch):
    facts = ("--method", "SCRL", "--epochs", 3, "--data", "photos")
    zoo("add", exported.online, "--name", "mine", "--into", tmp_path / "zoo", *facts)
    files = {f"/zoo/{file.name}": file.read_bytes() for file in (tmp_path / "zoo").iterdir()}
    with ZooServer() as server:
        server.files |= files
        server.cuts = [None] * 4 + [1 << 20]
        monkeypatch.setenv("MMSSCL_ZOO", f"{server.url}/zoo/")
        _, out, _ = zoo("list", "mine")
        assert out.splitlines()[1].split() == ["mine", "SCRL", "ResNet-18", "photos", "3", "verified"]
        status, out, error = zoo("download", "mine")
        assert "trying again" in error
    path = Path(out.strip())
    assert (status, out.count("\n")) == (0, 1)
    assert sha256_of(path) == sha256_of(exported.online)
    assert torch.load(path, weights_only=True)["meta"]["arch"] == "ResNet-18"
    # the server is gone: what is here is found, and can be checked
    status, out, error = zoo("download", "mine")
    assert (status, Path(out.strip())) == (0, path)
    assert "cannot be reached" in error
    status, out, _ = zoo("verify")
    assert (status, out) == (0, f"ok       mine  {path}\n")
    path.write_bytes(b"damaged")
    status, out, _ = zoo("verify", "mine")
    assert status == 1
    assert out.startswith(f"DAMAGED  mine  {path}")
    assert sha256_of(exported.online) in out
    assert "`mmsscl zoo download mine` brings it" in out
    path.unlink()
    # deleted by its owner: nothing is wrong, unless it is asked for
    for words, expected in (((), 0), (("mine",), 1)):
        status, out, _ = zoo("verify", *words)
        assert status == expected
        assert out.startswith("gone     mine")


def test_nothing_to_verify(zoo):
    assert zoo("verify") == (0, "nothing was downloaded or published here\n", "")


def test_a_published_one_is_local(zoo, exported):
    _, out, _ = zoo("add", exported.online, "--name", "scrl_r18_toy")
    _, listed, _ = zoo("list", "toy")
    assert listed.splitlines()[1].endswith("local")
    assert zoo("download", "scrl_r18_toy")[1] == out
    assert zoo("verify")[0] == 0
    Path(out.strip()).write_bytes(b"damaged")
    for word in ("DAMAGED", "missing"):
        status, told, _ = zoo("verify")
        assert status == 1
        assert told.startswith(word)
        assert "`mmsscl zoo add FILE --name scrl_r18_toy --replace`" in told
        Path(out.strip()).unlink(missing_ok=True)


@pytest.mark.parametrize(("fault", "words"), [
    ("404", "is not there (the server answers 404"), ("content", "is not the file that was published"),
    ("network", "cannot be reached"), ("disk", "the disk is too full"), ("address", "its host or port is malformed"),
])  # fmt: skip
def test_faults_end_with_one_line_and_a_status(zoo, mirror, monkeypatch, small_disk, fault, words):
    if fault == "404":
        del mirror.files["/a.pth"]
    elif fault == "content":
        mirror.files["/a.pth"] = b"other"
    elif fault == "network":
        mirror.redirects["/a.pth"] = "http://nowhere.invalid/a.pth"
    elif fault == "disk":
        monkeypatch.setenv("MMSSCL_CACHE", str(small_disk(1 << 20)))
    else:
        monkeypatch.setenv("MMSSCL_ZOO", "http://h:abc/zoo")
    status, out, error = zoo("download", "mine")
    assert (status, out) == (2, "")
    assert error.splitlines()[-1].startswith("error: ")
    assert words in error.splitlines()[-1]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_on_a_terminal_only(mirror, tmp_path, terminal):
    environment = dict(os.environ, TERM="xterm", COLUMNS="100")
    ours, theirs = os.openpty() if terminal else os.pipe()
    with os.fdopen(ours, "rb", buffering=0) as shown:
        command = [sys.executable, "-m", "mmsscl.cli", "zoo", "download", "mine"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=theirs)
        os.close(theirs)
        seen = b""
        try:
            while block := shown.read(1 << 16):
                seen += block
        except OSError:
            pass  # how a terminal says that nobody writes any more
        out, _ = process.communicate(timeout=60)
    assert out.decode().strip() == str(tmp_path / "cache" / "weights" / "mine" / "a.pth")
    assert (b"MB" in seen) is terminal
    assert terminal or seen == b""
