"""Which models can be named, and which of two with one name is meant."""
import json

import pytest

from mmsscl.errors import InputError
from mmsscl.zoo import transport
from mmsscl.zoo.cache import cache_folder, locked, own_zoo, place_in_cache
from mmsscl.zoo.catalogue import all_entries, find, read_index, shipped_folder
from mmsscl.zoo.mirror import mirror_url
from tests.zoo_server import ZooServer

HASHES = {letter: letter * 64 for letter in "abc"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMSSCL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MMSSCL_ZOO", raising=False)
    monkeypatch.setattr(transport, "PAUSE", 0.001)


def write_zoo(folder, *models):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model-index.yml").write_text("Import: [metafile.yml]\n")
    lines = [f"- {{Name: {name}, Weights: {weights}, SHA256: {HASHES[letter]}}}" for name, weights, letter in models]
    (folder / "metafile.yml").write_text("\n".join(["Models:", *lines]))
    return folder


def test_a_file_goes_before_none_and_the_packages_before_others(tmp_path, monkeypatch):
    shipped = {entry.name for entry in read_index(shipped_folder().as_uri(), "shipped")}
    write_zoo(own_zoo(), ("scrl_r18_toy", "own.pth", "a"), ("both", "own.pth", "a"))
    mirror = write_zoo(
        tmp_path / "mirror", ("both", "other.pth", "b"), ("theirs", "theirs.pth", "c"),
        ("scrl_r50_3rdparty-200e_in1k", "evil.pth", "b"),
    )  # fmt: skip
    monkeypatch.setenv("MMSSCL_ZOO", mirror.as_uri() + "/")
    said = []
    entries = all_entries(said.append)
    assert set(entries) == shipped | {"both", "theirs"}
    kinds = {name: entries[name].kind for name in ("scrl_r18_toy", "both", "theirs", "scrl_r50_3rdparty-200e_in1k")}
    assert list(kinds.values()) == ["own", "own", "mirror", "shipped"]
    assert [message.split(":")[0] for message in said] == ["both", "scrl_r50_3rdparty-200e_in1k"]
    assert entries["both"].url == (own_zoo() / "own.pth").as_uri()


def test_unknown_names_bring_near_ones():
    entries = all_entries(print)
    with pytest.raises(InputError, match=r"scrl_r18_toi: no such model. Did you mean scrl_r18_toy"):
        find("scrl_r18_toi", entries)
    with pytest.raises(InputError, match=r"Did you mean byol_r50_3rdparty-1000e_in1k\?"):
        find("byol_1000ep", entries)
    with pytest.raises(InputError, match=r"Did you mean sgcl_r18_scenes"):
        find("SGCL_R18", entries)
    with pytest.raises(InputError, match="zoo list"):
        find("quux", entries)


@pytest.mark.parametrize(("given", "words"), [
    ("/zoo", "=/zoo: is no address. For a folder write file:///zoo"), ("ftp://host/zoo", "is no address"),
    ("http://[x/zoo", "its host or port"), ("file://host/zoo", "three slashes"), ("https://me:secret@host/zoo", "passwords"),
    ("http://host/my zoo", "Write %20"),
])  # fmt: skip
def test_addresses_of_no_mirror(monkeypatch, given, words):
    monkeypatch.setenv("MMSSCL_ZOO", given)
    with pytest.raises(InputError, match=f"^MMSSCL_ZOO.*{words}") as caught:
        mirror_url()
    assert "secret" not in str(caught.value)


def test_faults_of_the_mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("MMSSCL_ZOO", tmp_path.as_uri())
    said = []
    all_entries(said.append)
    assert "lists no models" in said[0]
    (tmp_path / "model-index.yml").write_text("Import: [../outside.yml]")
    with pytest.raises(InputError, match=r"model-index.yml: Import: '../outside.yml' leads out"):
        all_entries(print)
    (tmp_path / "model-index.yml").write_text("Import: none")
    with pytest.raises(InputError, match="no list of paths"):
        all_entries(print)
    (tmp_path / "model-index.yml").write_text("Import: [gone.yml]")
    with pytest.raises(InputError, match=r"model-index.yml: Import: gone.yml: .*no such file.*off the list"):
        all_entries(print)
    (tmp_path / "model-index.yml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        all_entries(print)
    monkeypatch.setenv("MMSSCL_ZOO", "http://nowhere.invalid/zoo")
    with pytest.raises(InputError, match=r"nowhere.invalid cannot be reached"):
        all_entries(print)


def test_an_index_on_a_server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with ZooServer() as server:
        server.files["/zoo/model-index.yml"] = b"Import: [deep/a.yml]\nModels: [{Name: one, Built By: make}]"
        server.files["/zoo/deep/a.yml"] = b"Models: [{Name: two, Weights: c.pth}]"
        one, two = read_index(f"{server.url}/zoo", "mirror")
        assert (one.built_by, two.url) == ("make", f"{server.url}/zoo/c.pth")
        server.files["/zoo/deep/a.yml"] = b"Models: [{Name: one}]"
        with pytest.raises(InputError, match=r"deep/a.yml: Models: the name one is in http"):
            read_index(f"{server.url}/zoo", "mirror")
        server.files["/zoo/deep/a.yml"] = b" " * 5_000_000
        with pytest.raises(InputError, match="is longer than"):
            read_index(f"{server.url}/zoo", "mirror")


def test_a_mirror_that_is_away_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with ZooServer() as server:
        monkeypatch.setenv("MMSSCL_ZOO", f"{server.url}/zoo")
        server.files["/zoo/model-index.yml"] = b"Import: [a.yml]"
        server.files["/zoo/a.yml"] = b"Models: [{Name: one, Weights: c.pth}]"
        assert "one" in all_entries(print)
        server.files["/zoo/a.yml"] = b"Models: [{Name: two, Weights: c.pth}]"
        assert "two" in all_entries(print)
        server.statuses = [503]
        server.cuts = [None, 20]
        assert "two" in all_entries(print)
        server.statuses = [503] * transport.ATTEMPTS
        said = []
        assert "two" in all_entries(said.append)
        assert "last read" in said[-1]
        # what is there and wrong is said: an old list would hide it
        server.files["/zoo/a.yml"] = b"Models: 3"
        with pytest.raises(InputError, match="Models: is 3"):
            all_entries(print)
    said = []
    entries = all_entries(said.append)
    assert "two" in entries
    assert "one" not in entries
    assert "cannot be reached" in said[0]
    assert "last read" in said[0]
    (copy,) = (tmp_path / "cache" / "mirrors").iterdir()
    index = json.dumps({f"{server.url}/zoo/model-index.yml": "Import: [a.yml]"})
    for text in ("{", "[]", "{}", "3", "[" * 1500, index):
        copy.write_text(text)
        with pytest.raises(InputError, match="cannot be reached"):
            all_entries(print)


def test_where_the_cache_is(tmp_path, monkeypatch):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("MMSSCL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "mmsscl"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "mmsscl"


@pytest.mark.parametrize("name", ["..", "../a", "/etc/passwd", "a/b", ".hidden", "", "a\nb", "a\\b"])
def test_nothing_leads_out_of_the_cache(name):
    with pytest.raises(InputError, match="leads out of the cache"):
        place_in_cache("a", name)


def test_a_cache_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written to .*MMSSCL_CACHE"), locked(tmp_path / "file" / "deep", print):
        pass
