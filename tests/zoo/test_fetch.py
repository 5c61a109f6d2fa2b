"""From an entry to a file that may be loaded: hashes first, pins, conversion, mirrors, two at once."""
import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision

from mmsscl.errors import InputError
from mmsscl.zoo.cache import cache_folder, read_records
from mmsscl.zoo.entry import Entry
from mmsscl.zoo.export import export_backbone
from mmsscl.zoo.fetch import check_files, fetch
from mmsscl.zoo.read_backbone import read_backbone
from mmsscl.zoo.safe_load import load_checkpoint
from tests.sample_runs import ROOT, write_checkpoint
from tests.zoo_server import ZooServer

CHILDREN = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}


class MakesFolder:
    """A harmless stand-in for code that does harm."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def digest(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("MMSSCL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MMSSCL_ZOO", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    with ZooServer() as running:
        yield running


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    return export_backbone(write_checkpoint(folder / "epoch_1.pth"), folder / "backbone.pth")


@pytest.fixture
def verified(server, backbone):
    server.files["/mine.pth"] = Path(backbone.path).read_bytes()
    return Entry("mine", server.url, "mirror", "metafile.yml", weights="mine.pth", sha256=backbone.sha256)


@pytest.fixture
def authors(server, tmp_path):
    """An entry as the authors' are, and a file as their code writes it."""
    torch.manual_seed(0)
    network = torchvision.models.resnet18()
    state = {}
    for name, value in network.state_dict().items():
        child, _, rest = name.partition(".")
        if child in CHILDREN:
            state[f"encoder.{CHILDREN[child]}.{rest}"] = value
    state["projector.net.0.weight"] = torch.zeros(4, 512)
    file = tmp_path / "scrl_200ep.pth"
    torch.save({"online_network_state_dict": state}, file)
    server.files["/scrl_200ep.pth"] = file.read_bytes()
    entry = Entry("theirs", "", "shipped", "metafile.yml", weights=f"{server.url}/scrl_200ep.pth", layout="kakaobrain/scrl")
    return entry, network.state_dict()


def test_downloaded_once_and_hashed_each_time(verified, server, backbone):
    said = []
    path = fetch(verified, said.append)
    assert path == cache_folder() / "weights" / "mine" / "mine.pth"
    assert read_backbone(path).exported
    assert fetch(verified, said.append) == path
    assert len(server.requests) == 1
    assert read_records()["mine"] == {"file": "mine.pth", "sha256": backbone.sha256, "url": f"{server.url}/mine.pth"}
    path.write_bytes(b"damaged")
    assert [check.ok for check in check_files(["mine"], {})] == [False]
    assert fetch(verified, said.append) == path
    assert "not as it was downloaded" in said[-1]
    assert [check.ok for check in check_files([], {})] == [True]
    path.unlink()
    assert check_files([], {})[0].found is None
    with pytest.raises(InputError, match=r"yours: is not in the cache.*In the cache: mine"):
        check_files(["yours"], {})


def test_wrong_content_is_never_placed(verified, server):
    server.files["/mine.pth"] = b"another file"
    with pytest.raises(InputError, match=rf"{digest(b'another file')}, expected {verified.sha256}.*removed"):
        fetch(verified, print)
    assert read_records() == {}
    assert sorted(os.listdir(cache_folder() / "weights" / "mine")) == [".lock"]


def test_weights_of_nobody_are_explained(server):
    entry = Entry("mine", server.url, "shipped", "x", config="configs/scrl_r50_coco.py")
    with pytest.raises(InputError, match=r"recipe: mmsscl train configs/scrl_r50_coco.py"):
        fetch(entry, print)
    with pytest.raises(InputError, match=r"built by: bash tools/quickstart.sh.*zoo add"):
        fetch(replace(entry, built_by="bash tools/quickstart.sh"), print)


def test_an_unknown_hash_is_refused_then_pinned_and_the_file_converted(authors, server):
    entry, wanted = authors
    with pytest.raises(InputError, match=r"nobody here knows the hash.*--allow-unverified"):
        fetch(entry, print)
    assert server.requests == []
    said = []
    path = fetch(entry, said.append, allow_unverified=True)
    found = digest(server.files["/scrl_200ep.pth"])
    assert any(found in message and "pinned" in message for message in said)
    assert read_records()["theirs"]["sha256"] == found
    assert read_records()["theirs"]["pinned"] is True
    state = load_checkpoint(path)["state_dict"]
    assert state.keys() == {name for name in wanted if not name.startswith("fc.")}
    assert all(torch.equal(value, wanted[name]) for name, value in state.items())
    # from now on without the option, from the cache, and converted once
    before = path.stat().st_mtime_ns
    assert fetch(entry, print) == path
    assert (len(server.requests), path.stat().st_mtime_ns) == (1, before)
    assert [check.ok for check in check_files(["theirs"], {})] == [True, True]


def test_another_file_than_the_pinned_one_is_refused_even_if_unverified_are_allowed(authors, server):
    entry, _ = authors
    path = fetch(entry, print, allow_unverified=True)
    original = path.with_name("scrl_200ep.pth")
    original.unlink()
    server.files["/scrl_200ep.pth"] += b"x"
    with pytest.raises(InputError, match=rf"sha256 is {digest(server.files['/scrl_200ep.pth'])}, expected"):
        fetch(entry, print, allow_unverified=True)
    assert not original.exists()
    server.files["/scrl_200ep.pth"] = server.files["/scrl_200ep.pth"][:-1]
    path.write_bytes(b"damaged")
    assert fetch(entry, print) == path
    assert load_checkpoint(path)["state_dict"]


def test_a_downloaded_file_with_code_is_not_run_nor_kept(authors, server, tmp_path):
    entry, _ = authors
    file, target = tmp_path / "evil.pth", tmp_path / "made_by_the_file"
    torch.save({"online_network_state_dict": {"encoder.0.weight": torch.ones(1)}, "extra": MakesFolder(target)}, file)
    server.files["/scrl_200ep.pth"] = file.read_bytes()
    for layout in ("kakaobrain/scrl", None):
        with pytest.raises(InputError, match="refused, because loading it would run code"):
            fetch(replace(entry, layout=layout), print, allow_unverified=True)
        assert not target.exists()
        assert read_records() == {}
        assert sorted(os.listdir(cache_folder() / "weights" / "theirs")) == [".lock"]


def test_a_verified_file_with_code_is_refused_where_it_is_loaded(verified, server, tmp_path):
    file, target = tmp_path / "evil.pth", tmp_path / "made_by_the_file"
    torch.save({"state_dict": {}, "meta": {}, "extra": MakesFolder(target)}, file)
    server.files["/mine.pth"] = file.read_bytes()
    path = fetch(replace(verified, sha256=digest(file.read_bytes())), print)
    with pytest.raises(InputError, match="would run code"):
        read_backbone(path)
    assert not target.exists()


def test_the_mirror_goes_first_and_the_address_follows(verified, authors, server, tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    monkeypatch.setenv("MMSSCL_ZOO", mirror.as_uri())
    shipped = replace(verified, kind="shipped", weights=f"{server.url}/mine.pth")
    said = []
    fetch(shipped, said.append)
    assert "has no mine.pth; asking http" in said[0]
    entry, _ = authors
    (mirror / "scrl_200ep.pth").write_bytes(server.files.pop("/scrl_200ep.pth"))
    server.requests.clear()
    fetch(entry, said.append, allow_unverified=True)
    assert server.requests == []
    assert read_records()["theirs"]["url"] == (mirror / "scrl_200ep.pth").as_uri()


def test_two_processes_download_once(verified, server):
    server.pause = 0.0005
    code = "import sys; from mmsscl.zoo.entry import Entry; from mmsscl.zoo.fetch import fetch\n" \
        "print(fetch(Entry('mine', sys.argv[1], 'mirror', 'x', weights='mine.pth', sha256=sys.argv[2]), " \
        "lambda m: print(m, file=sys.stderr)))"  # fmt: skip
    command = [sys.executable, "-c", code, server.url, verified.sha256]
    start = lambda: subprocess.Popen(  # noqa: E731
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    first = start()
    assert server.first_bytes.wait(30)
    second = start()
    results = [process.communicate(timeout=60) for process in (first, second)]
    path = str(cache_folder() / "weights" / "mine" / "mine.pth")
    assert [out.strip() for out, _ in results] == [path, path], results
    assert "another process is at work" in results[1][1]
    assert [request.status for request in server.requests] == [200]
