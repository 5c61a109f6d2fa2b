"""From an entry to a file that may be loaded: hashes first, pins, conversion, mirrors, two at once."""
import hashlib
import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from mmsscl.errors import InputError
from mmsscl.zoo import fetch as fetch_module
from mmsscl.zoo.backbone_file import write_backbone_file
from mmsscl.zoo.cache import cache_folder, read_record, read_records
from mmsscl.zoo.entry import Entry
from mmsscl.zoo.fetch import check_files, fetch
from mmsscl.zoo.file_hash import sha256_of
from mmsscl.zoo.listing import facts, row
from mmsscl.zoo.read_backbone import read_backbone
from mmsscl.zoo.safe_load import load_checkpoint
from tests.sample_backbones import resnet
from tests.sample_runs import ROOT
from tests.zoo_server import ZooServer

CONTENT = random.Random(0).randbytes(200_000)
OTHER = random.Random(1).randbytes(200_000)
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


@pytest.fixture
def verified(server):
    server.files["/mine.pth"] = CONTENT
    return Entry("mine", server.url, "mirror", "metafile.yml", weights="mine.pth", sha256=digest(CONTENT))


@pytest.fixture
def theirs(server):
    """An entry as the authors' are."""
    server.files["/scrl_200ep.pth"] = CONTENT
    return Entry("theirs", "", "shipped", "metafile.yml", weights=f"{server.url}/scrl_200ep.pth", layout="scrl")


@pytest.fixture
def conversions(monkeypatch):
    """What was converted, by a converter that copies."""
    done = []

    def convert(source, output, to, layout):
        done.append((source.name, to, layout))
        shutil.copy(source, output)
        return SimpleNamespace(
            sha256=sha256_of(output), mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), channel_order="RGB"
        )

    monkeypatch.setattr(fetch_module, "_converter", lambda: convert)
    return done


def test_downloaded_once_and_hashed_each_time(verified, server):
    said = []
    path = fetch(verified, said.append)
    assert path == cache_folder() / "weights" / "mine" / "mine.pth"
    assert path.read_bytes() == CONTENT
    assert fetch(verified, said.append) == path
    assert len(server.requests) == 1
    assert read_records()["mine"] == {"file": "mine.pth", "sha256": digest(CONTENT), "url": f"{server.url}/mine.pth"}
    path.write_bytes(b"damaged")
    assert [check.ok for check in check_files(["mine"])] == [False]
    assert fetch(verified, said.append) == path
    assert "not as it was downloaded" in said[-1]
    assert [check.ok for check in check_files([])] == [True]
    path.unlink()
    assert [(check.found, check.deleted) for check in check_files([])] == [(None, True)]
    with pytest.raises(InputError, match=r"yours: is not in the cache.*In the cache: mine"):
        check_files(["yours"])


def test_wrong_content_is_never_placed(verified, server):
    server.files["/mine.pth"] = b"another file"
    with pytest.raises(InputError, match=rf"{digest(b'another file')}, expected {verified.sha256}.*removed"):
        fetch(verified, print)
    assert read_records() == {}
    assert sorted(os.listdir(cache_folder() / "weights" / "mine")) == [".lock"]


def test_wrong_content_leaves_the_file_that_is_there(verified, server):
    path = fetch(verified, print)
    server.files["/mine.pth"] = b"another file"
    said = []
    with pytest.raises(InputError, match="is not the file that was published"):
        fetch(replace(verified, sha256=digest(OTHER)), said.append)
    assert "is not what is published now" in said[0]
    assert path.read_bytes() == CONTENT
    assert fetch(verified, print) == path


def test_weights_of_nobody_are_explained(server):
    entry = Entry("mine", server.url, "shipped", "x", config="configs/scrl_r50_coco.py")
    with pytest.raises(InputError, match=r"To make them: mmsscl train configs/scrl_r50_coco.py"):
        fetch(entry, print)
    with pytest.raises(InputError, match=r"To make them: bash tools/quickstart.sh.*zoo add"):
        fetch(replace(entry, built_by="bash tools/quickstart.sh"), print)
    bare = replace(entry, config=None)
    with pytest.raises(InputError, match="x does not tell how to make them"):
        fetch(bare, print)
    assert "None" not in facts(bare)
    assert row(bare)[-1] == "no weights"


def test_an_unknown_hash_is_refused_then_pinned_and_the_file_converted(theirs, server, tmp_path):
    wanted = resnet().state_dict()
    state = {
        f"encoder.{CHILDREN[child]}.{rest}": value
        for name, value in wanted.items() for child, _, rest in [name.partition(".")] if child in CHILDREN
    }  # fmt: skip
    torch.save({"online_network_state_dict": {**state, "projector.net.0.weight": torch.zeros(4, 512)}}, tmp_path / "a.pth")
    server.files["/scrl_200ep.pth"] = (tmp_path / "a.pth").read_bytes()
    with pytest.raises(InputError, match=r"nobody here knows the hash.*--allow-unverified"):
        fetch(theirs, print)
    assert server.requests == []
    said = []
    path = fetch(theirs, said.append, allow_unverified=True)
    found = digest(server.files["/scrl_200ep.pth"])
    assert any(found in message and "pinned" in message for message in said)
    assert (read_record("theirs")["sha256"], read_record("theirs")["pinned"]) == (found, True)
    state = load_checkpoint(path)["state_dict"]
    assert state.keys() == {name for name in wanted if not name.startswith("fc.")}
    assert all(torch.equal(value, wanted[name]) for name, value in state.items())
    shown = facts(theirs)
    for words in ("mean           123.675, 116.28, 103.53", "channel order  RGB", f"sha256         {found} (pinned"):
        assert words in shown


def test_converted_once_by_its_layout(theirs, server, conversions):
    path = fetch(theirs, print, allow_unverified=True)
    # from now on without the option, and from the cache
    assert fetch(theirs, print) == path
    assert [check.ok for check in check_files(["theirs"])] == [True, True]
    assert conversions == [("scrl_200ep.pth", "mmdet", "scrl")]
    path.write_bytes(b"damaged")
    assert fetch(theirs, print) == path
    assert path.read_bytes() == CONTENT
    assert (len(conversions), len(server.requests)) == (2, 1)


def test_a_layout_that_is_none_is_said_before_the_download(theirs, server, conversions):
    with pytest.raises(InputError, match=r"^metafile metafile.yml: theirs: Converted From: 'scrll' .*Did you mean scrl\?"):
        fetch(replace(theirs, layout="scrll"), print, allow_unverified=True)
    assert (server.requests, conversions) == ([], [])


def test_a_download_named_as_its_conversion_might_be(server, conversions):
    server.files["/theirs.backbone.pth"] = CONTENT
    entry = Entry("theirs", server.url, "mirror", "x", weights="theirs.backbone.pth", sha256=digest(CONTENT), layout="scrl")
    path = fetch(entry, print)
    assert path != path.with_name("theirs.backbone.pth")
    assert fetch(entry, print) == path
    assert len(server.requests) == len(conversions) == 1


def test_a_model_may_be_named_as_any_file_of_ours(verified):
    for name in ("downloads.json", "weights"):
        fetch(replace(verified, name=name), print)
    assert sorted(read_records()) == ["downloads.json", "weights"]


def test_another_file_than_the_pinned_one_is_refused_even_if_unverified_are_allowed(theirs, server, conversions):
    path = fetch(theirs, print, allow_unverified=True)
    original = path.with_name("scrl_200ep.pth")
    original.unlink()
    server.files["/scrl_200ep.pth"] = OTHER
    with pytest.raises(InputError, match=rf"sha256 is {digest(OTHER)}, expected {digest(CONTENT)}"):
        fetch(theirs, print, allow_unverified=True)
    assert not original.exists()
    # nor does a metafile that names a hash all of a sudden
    with pytest.raises(InputError, match=rf"says sha256 {digest(OTHER)}, .*accepted here has {digest(CONTENT)}") as told:
        fetch(replace(theirs, sha256=digest(OTHER)), print)
    shutil.rmtree(str(told.value).rpartition(": rm -r ")[2])
    assert fetch(replace(theirs, sha256=digest(OTHER)), print).read_bytes() == OTHER


def test_a_hash_that_a_metafile_no_longer_has_still_holds(verified, server):
    path = fetch(verified, print)
    path.unlink()
    server.files["/mine.pth"] = OTHER
    with pytest.raises(InputError, match="is not the file that was published"):
        fetch(replace(verified, sha256=None), print)


@pytest.mark.parametrize("record", [
    "{", "[]", "[" * 1500, '{"sha256": "a"}', '{"file": "a.pth", "sha256": 3}', '{"file": "../a.pth", "sha256": "a"}',
    '{"file": "a.pth", "sha256": "a", "backbone": {}}', '{"file": "a.pth", "sha256": "a", "backbone": null}',
])  # fmt: skip
def test_a_damaged_record_is_said(verified, record):
    path = fetch(verified, print)
    path.with_name(".record.json").write_text(record)
    for read in (lambda: fetch(verified, print), lambda: check_files([])):
        with pytest.raises(InputError, match=r"\.record\.json: not the record.*Delete the folder"):
            read()


def test_a_full_disk_is_said_whatever_is_written(verified, theirs, small_disk, conversions, monkeypatch):
    disk = small_disk(300_000)
    monkeypatch.setenv("MMSSCL_CACHE", str(disk))
    with pytest.raises(InputError, match=r"theirs: cannot be written.*the disk is full.*MMSSCL_CACHE"):
        fetch(theirs, print, allow_unverified=True)
    # so does what conversion really writes with
    with pytest.raises(OSError, match="No space left"):
        write_backbone_file(disk / "a.pth", {"a": torch.zeros(100_000)}, {}, "mmdet")
    shutil.rmtree(disk / "weights")
    monkeypatch.setattr(fetch_module, "write_record", lambda *_: (disk / "filler").write_bytes(bytes(300_000)))
    with pytest.raises(InputError, match=r"mine: cannot be written.*the disk is full"):
        fetch(verified, print)


def test_own_files_need_a_hash(tmp_path):
    (tmp_path / "hand.pth").write_bytes(CONTENT)
    entry = Entry("hand", tmp_path.as_uri(), "own", "metafile.yml", weights="hand.pth")
    with pytest.raises(InputError, match=rf"metafile.yml has no hash .*SHA256: {digest(CONTENT)}"):
        fetch(entry, print)


def test_a_downloaded_file_with_code_is_not_run_nor_kept(theirs, server, tmp_path):
    file, target = tmp_path / "evil.pth", tmp_path / "made_by_the_file"
    torch.save({"online_network_state_dict": {"encoder.0.weight": torch.ones(1)}, "extra": MakesFolder(target)}, file)
    server.files["/scrl_200ep.pth"] = file.read_bytes()
    for layout in ("scrl", None):
        with pytest.raises(InputError, match="refused, because loading it would run code"):
            fetch(replace(theirs, layout=layout), print, allow_unverified=True)
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


def test_the_mirror_goes_first_and_the_address_follows(verified, theirs, server, conversions, tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    monkeypatch.setenv("MMSSCL_ZOO", mirror.as_uri())
    shipped = replace(verified, kind="shipped", weights=f"{server.url}/mine.pth")
    said = []
    fetch(shipped, said.append)
    assert "has no mine.pth; asking http" in said[0]
    (mirror / "scrl_200ep.pth").write_bytes(server.files.pop("/scrl_200ep.pth"))
    server.requests.clear()
    fetch(replace(theirs, weights=f"{theirs.weights}?token=/x"), said.append, allow_unverified=True)
    assert server.requests == []
    assert read_record("theirs")["url"] == (mirror / "scrl_200ep.pth").as_uri()


def test_two_processes_download_once(verified, server):
    server.go_on.clear()
    code = "import sys; from mmsscl.zoo.entry import Entry; from mmsscl.zoo.fetch import fetch\n" \
        "print(fetch(Entry('mine', sys.argv[1], 'mirror', 'x', weights='mine.pth', sha256=sys.argv[2]), " \
        "lambda m: print(m, file=sys.stderr, flush=True)))"  # fmt: skip
    command = [sys.executable, "-c", code, server.url, verified.sha256]
    start = lambda: subprocess.Popen(  # noqa: E731
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    first = start()
    assert server.first_bytes.wait(30)
    second = start()
    assert "another process is at work" in second.stderr.readline()
    server.go_on.set()
    results = [process.communicate(timeout=60) for process in (first, second)]
    path = str(cache_folder() / "weights" / "mine" / "mine.pth")
    assert [out.strip() for out, _ in results] == [path, path], results
    assert [request.status for request in server.requests] == [200]
