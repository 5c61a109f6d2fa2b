import os
import re
import subprocess
from pathlib import Path

import pytest
from mmengine.fileio import get

from mmsscl.cli import main
from mmsscl.datasets import SceneImages
from mmsscl.datasets.listed_photos import listed_photos
from mmsscl.datasets.shards import ShardIndex
from mmsscl.datasets.shards.write_shards import write_shards
from mmsscl.errors import InputError
from tests.sample_runs import write_photos


@pytest.fixture
def photos(tmp_path):
    folder = write_photos(tmp_path / "photos", 12)
    (folder / "deep").mkdir()
    (folder / "3.jpg").rename(folder / "deep/3.jpg")
    return folder


def pack(photos, folder, most_bytes=8_000):
    paths = listed_photos(str(photos))
    return paths, list(write_shards(paths, str(photos), folder, most_bytes))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.jpg")}


def test_the_systems_tar_unpacks_the_same_files(photos, tmp_path):
    paths, parts = pack(photos, tmp_path / "shards")
    assert len(parts) > 2
    assert sum(count for _, count, _ in parts) == len(paths) == 12
    (tmp_path / "out").mkdir()
    for shard, _, _ in parts:
        subprocess.run(["tar", "xf", str(shard), "-C", str(tmp_path / "out")], check=True)
        assert shard.stat().st_size < 8_000 + 12 * 1024 + 10_240
    assert contents(tmp_path / "out") == contents(photos)


def test_two_packings_are_the_same_bytes(photos, tmp_path):
    one, other = pack(photos, tmp_path / "one")[1], pack(photos, tmp_path / "other")[1]
    assert [shard.read_bytes() for shard, *_ in one] == [shard.read_bytes() for shard, *_ in other]
    assert [shard.name for shard, *_ in one][:2] == ["photos-000000.tar", "photos-000001.tar"]


def test_a_photo_larger_than_a_shard_has_one_of_its_own(photos, tmp_path):
    _, parts = pack(photos, tmp_path / "shards", most_bytes=1)
    assert [count for _, count, _ in parts] == [1] * 12


def test_it_goes_on_where_it_was_cut(photos, tmp_path):
    paths = listed_photos(str(photos))
    wanted = [shard.read_bytes() for shard, *_ in pack(photos, tmp_path / "whole")[1]]
    folder = tmp_path / "shards"
    running = write_shards(paths, str(photos), folder, 8_000)
    next(running)
    second, _, _ = next(running)
    running.close()
    with pytest.raises(InputError, match=r"photos\.unfinished: packing was cut short.*mmsscl shards write again"):
        SceneImages(str(folder), shards="*.tar")
    (folder / f".{second.name}.elsewhere.123.part").write_bytes(b"half")
    (folder / f"{second.name}.index").unlink()  # killed between a tar file and its index
    again = list(write_shards(paths, str(photos), folder, 8_000))
    assert [written for *_, written in again] == [False, False] + [True] * (len(wanted) - 2)
    assert [shard.read_bytes() for shard, *_ in again] == wanted
    assert {path.suffix for path in folder.iterdir()} == {".tar", ".index"}


@pytest.mark.parametrize("change", ["another photo", "the same size", "fewer photos", "not ours"])
def test_tar_files_of_other_photos_are_not_touched_unless_asked(photos, tmp_path, change):
    shards = tmp_path / "shards"
    pack(photos, shards)
    if change == "another photo":
        (photos / "0.jpg").write_bytes((photos / "1.jpg").read_bytes() + b"0")
    elif change == "the same size":  # as turning a photo does, by its EXIF entry
        os.utime(photos / "0.jpg", (2e9, 2e9))
    elif change == "fewer photos":
        for number in range(6, 12):
            (photos / f"{number}.jpg").unlink()
    else:
        for file in shards.iterdir():
            file.unlink()
        (shards / "photos-000000.tar").write_bytes(b"another's")
    before = {file.name: file.read_bytes() for file in shards.iterdir()}
    with pytest.raises(InputError, match=r"holds \d tar file\(s\) of that prefix with other.*--overwrite"):
        pack(photos, shards)
    assert {file.name: file.read_bytes() for file in shards.iterdir()} == before
    if change == "the same size":
        os.utime(photos / "0.jpg")
    paths = listed_photos(str(photos))
    list(write_shards(paths, str(photos), shards, 8_000, overwrite=True))
    packed = SceneImages(str(shards), shards="*.tar")
    assert [get(packed.path(index)) for index in range(len(packed))] == [Path(path).read_bytes() for path in paths]


def test_another_prefix_beside_it_is_another_data_set(photos, tmp_path):
    for prefix in ("photos", "photos-b", "x"):
        list(write_shards(listed_photos(str(photos)), str(photos), tmp_path, 8_000, prefix))
    (tmp_path / ".download.iso.part").write_bytes(b"another program's")
    list(write_shards(listed_photos(str(photos)), str(photos), tmp_path, 8_000, "photos"))
    assert (tmp_path / ".download.iso.part").exists()
    assert len(SceneImages(str(tmp_path), shards="x-*.tar")) == 12


def test_the_root_is_what_all_photos_share(photos, tmp_path, capsys):
    (tmp_path / "list.txt").write_text("photos/deep/3.jpg\nphotos/0.jpg\n")
    assert main(["shards", "write", str(tmp_path / "list.txt"), str(tmp_path / "shards")]) == 0
    assert list(ShardIndex.scan(str(tmp_path / "shards/photos-000000.tar")).names) == ["deep/3.jpg", "0.jpg"]


def test_links_are_followed_as_the_file_system_does(photos, tmp_path):
    (tmp_path / "list.txt").write_text("lnk/../0.jpg\n")
    (tmp_path / "lnk").symlink_to(photos / "deep")
    write_photos(tmp_path, 1, size=30)  # another 0.jpg, where the path leads by its letters
    assert main(["shards", "write", str(tmp_path / "list.txt"), str(tmp_path / "shards")]) == 0
    assert get(SceneImages(str(tmp_path / "shards"), shards="*.tar").path(0)) == (photos / "0.jpg").read_bytes()


def test_what_cannot_be_packed_is_named(photos, tmp_path):
    with pytest.raises(InputError, match=r"gone\.jpg: the photo cannot be read .*mmsscl doctor data"):
        list(write_shards([str(photos / "gone.jpg")], str(photos), tmp_path / "shards"))
    hidden, strange = ("is hidden", "does not end in one of")
    for name, message in ((".a.jpg", hidden), (".cache/a.jpg", hidden), ("photo", strange), ("0.jpg_large", strange)):
        with pytest.raises(InputError, match=message):
            list(write_shards([str(photos / "0.jpg"), str(photos / name)], str(photos), tmp_path / "hidden"))
    with pytest.raises(InputError, match=r"0\.jpg: is named twice"):
        list(write_shards([str(photos / "0.jpg"), f"{photos}/./0.jpg"], str(photos), tmp_path / "hidden"))
    assert list((tmp_path / "hidden").iterdir()) == [], "nothing is written before all is checked"


def test_a_photo_that_changes_meanwhile_is_told(photos, tmp_path, monkeypatch):
    real = os.stat
    for change, message in ((-100, "has grown"), (100, "not packed .unexpected end")):
        def wrong(path, *args, change=change, **kwargs):
            found = real(path, *args, **kwargs)
            if str(path).endswith("5.jpg"):
                return os.stat_result((*found[:6], found.st_size + change, *found[7:10]))
            return found

        monkeypatch.setattr("mmsscl.datasets.shards.write_shards.os.stat", wrong)
        with pytest.raises(InputError, match=message):
            pack(photos, tmp_path / f"shards{change}")


def test_the_command_packs_indexes_and_is_trained_on(photos, tmp_path, capsys):
    (photos / "list.txt").write_text("0.jpg\ndeep/3.jpg\n1.jpg\n")
    shards = tmp_path / "shards"
    assert main(["shards", "write", str(photos), str(shards), "--megabytes", "0.008", "--prefix", "scenes"]) == 0
    said = capsys.readouterr().out
    assert re.fullmatch(r"12 photos in \d tar files; train with data_root='.*shards', shards='scenes-\*\.tar'\n", said)
    assert main(["shards", "write", str(photos), str(shards), "--megabytes", "0.008", "--prefix", "scenes"]) == 0
    assert re.search(r"(\d) tar files, \1 of them there already", capsys.readouterr().out)
    for index in shards.glob("*.index"):
        index.unlink()
    (shards / "._scenes-000000.tar").write_bytes(b"left by a Mac")
    assert main(["shards", "index", str(shards)]) == 0
    assert "12 files in" in capsys.readouterr().out
    assert all(ShardIndex.read(str(shard)) for shard in shards.glob("scenes-*.tar"))
    assert main(["shards", "write", str(photos / "list.txt"), str(tmp_path / "listed")]) == 0
    listed = SceneImages(str(tmp_path / "listed"), shards="*.tar")
    assert [listed.path(index).rpartition("/")[2] for index in range(3)] == ["0.jpg", "3.jpg", "1.jpg"]


def test_the_doctor_looks_into_tar_files(photos, tmp_path, capsys):
    (photos / "5.jpg").write_bytes(b"text")
    shards, good = tmp_path / "shards", tmp_path / "good.txt"
    pack(photos, shards)
    capsys.readouterr()
    assert main(["doctor", "data", str(shards), "--workers", "0", "--good", str(good)]) == 1
    said = capsys.readouterr().out
    assert re.search(r"tar://.*photos-00000\d\.tar\?offset=\d+&size=4/5\.jpg: not a readable image", said)
    assert "12 photos read, 1 bad" in said
    assert main(["doctor", "data", str(good), "--workers", "0"]) == 0
    assert capsys.readouterr().out == "11 photos read, 0 bad\n"
    assert len(SceneImages(ann_file=str(good))) == 11
    assert main(["doctor", "data", str(shards / "photos-000000.tar"), "--workers", "0"]) == 0
    assert "2 photos read, 0 bad" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["write", "{photos}", "{out}", "--megabytes", "0"], "--megabytes 0: give a size above 0"),
        (["write", "{photos}", "{out}", "--megabytes", "nan"], "--megabytes nan: give a size above 0"),
        (["write", "{photos}", "{out}", "--megabytes", "inf"], "--megabytes inf: give a size above 0"),
        (["write", "{photos}", "{out}", "--prefix", ".a"], "--prefix '.a': give the beginning"),
        (["write", "{photos}", "{out}", "--prefix", "a*"], "--prefix 'a.': give the beginning"),
        (["write", "{photos}/addresses.txt", "{out}"], "tar://x.tar.* lies in a tar file or elsewhere already"),
        (["write", "{photos}", "{out}", "--prefix", "a/b"], "--prefix 'a/b': give the beginning"),
        (["write", "{photos}", "{out}", "--prefix", ""], "--prefix '': give the beginning"),
        (["write", "{photos}", "{photos}/0.jpg"], "cannot be written to"),
        (["write", "{photos}", "{out}", "--root", "x"], "--root x: .* needs none"),
        (["write", "nowhere", "{out}"], "nowhere"),
        (["index", "{photos}"], r"photos: no \.tar file in this folder"),
        (["index", "nowhere.tar"], r"nowhere\.tar: no such tar file"),
        (["index", "{photos}/0.jpg"], "not a readable tar file"),
        (["index", "{photos}", "--workers", "0"], "--workers 0: give a number"),
    ],
)
def test_wrong_words_end_in_one_line(photos, tmp_path, capsys, arguments, message):
    (photos / "addresses.txt").write_text("tar://x.tar?offset=512&size=3/a.jpg\n")
    words = [word.replace("{photos}", str(photos)).replace("{out}", str(tmp_path / "out")) for word in arguments]
    assert main(["shards", *words]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("error: ")
    assert re.search(message, said[-1]), said
    assert not any("Traceback" in line for line in said)


@pytest.mark.parametrize("words", ["write photos", "write photos a b", "write photos a --workers 2", "index a --root x"])
def test_each_has_its_own_arguments(capsys, words):
    with pytest.raises(SystemExit):
        main(["shards", *words.split()])
    said = capsys.readouterr().err
    assert re.search("arguments are required: folder|unrecognized arguments: (b|--workers 2|--root x)", said)


def test_a_home_folder_and_odd_names(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "d[1]"
    assert main(["shards", "write", str(photos), "~/d[1]"]) == 0
    assert len(SceneImages(str(folder), shards="*.tar")) == 12
    assert len(SceneImages("~/d[1]", shards=Path("photos-000000.tar"))) == 12
    assert main(["doctor", "data", str(folder), "--workers", "0"]) == 0
    (photos / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"bad")
    (photos / os.fsdecode(b"b\xe9.jpg")).write_bytes((photos / "0.jpg").read_bytes())
    good = tmp_path / "good.txt"
    assert main(["doctor", "data", str(photos), "--workers", "0", "--good", str(good)]) == 1
    assert len(SceneImages(ann_file=str(good))) == 13
    (photos / "a\nb.jpg").write_bytes((photos / "0.jpg").read_bytes())
    assert main(["doctor", "data", str(photos), "--workers", "0", "--good", str(good)]) == 2
    assert "has a line break in its name" in capsys.readouterr().err
