"""Which models can be named, and which of two with one name is meant."""
import pytest

from mmsscl.errors import InputError
from mmsscl.zoo.cache import cache_folder, locked, own_zoo, place_in_cache, read_records, write_record
from mmsscl.zoo.catalogue import all_entries, find, read_index, shipped_folder
from mmsscl.zoo.mirror import mirror_url
from tests.zoo_server import ZooServer

HASHES = {letter: letter * 64 for letter in "abc"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMSSCL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MMSSCL_ZOO", raising=False)


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


def test_faults_of_the_mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("MMSSCL_ZOO", str(tmp_path))
    with pytest.raises(InputError, match=f"is no address.*{tmp_path.as_uri()}"):
        mirror_url()
    monkeypatch.setenv("MMSSCL_ZOO", "ftp://host/zoo")
    with pytest.raises(InputError, match="is no address"):
        mirror_url()
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
    with pytest.raises(InputError, match=r"gone\.yml"):
        read_index(tmp_path.as_uri(), "mirror")
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
        assert "two" in all_entries(print)
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
    copy.write_text("{")
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


def test_records_survive_each_other_and_are_refused_when_damaged(tmp_path):
    assert read_records() == {}
    write_record("a", {"sha256": "1"})
    write_record("b", {"sha256": "2"})
    assert read_records() == {"a": {"sha256": "1"}, "b": {"sha256": "2"}}
    file = tmp_path / "cache" / "weights" / "downloads.json"
    for text in ("{", "[]", '{"a": 1}'):
        file.write_text(text)
        with pytest.raises(InputError, match=r"downloads.json.*Delete it"):
            read_records()


def test_a_cache_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written to .*MMSSCL_CACHE"), locked(tmp_path / "file" / "deep", print):
        pass
