import os
import re
import subprocess

import pytest

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
    (folder / f".{second.name}.elsewhere.123.part").write_bytes(b"half")
    (folder / f"{second.name}.index").unlink()  # killed between a tar file and its index
    again = list(write_shards(paths, str(photos), folder, 8_000))
    assert [written for *_, written in again] == [False] + [True] * (len(wanted) - 1)
    assert [shard.read_bytes() for shard, *_ in again] == wanted
    assert {path.suffix for path in folder.iterdir()} == {".tar", ".index"}


def test_other_photos_are_packed_anew(photos, tmp_path):
    pack(photos, tmp_path / "shards")
    (photos / "0.jpg").write_bytes((photos / "1.jpg").read_bytes() + b"0")
    _, parts = pack(photos, tmp_path / "shards")
    assert parts[0][2] is True
    packed = SceneImages(str(tmp_path / "shards"), shards="*.tar")
    assert packed.path(0).endswith(f"size={(photos / '0.jpg').stat().st_size}/0.jpg")


def test_left_over_tar_files_are_told(photos, tmp_path):
    pack(photos, tmp_path / "shards", most_bytes=1)
    with pytest.raises(InputError, match=r"also holds \d+ tar file\(s\) of other photos, first photos-00000\d\.tar"):
        pack(photos, tmp_path / "shards")


def test_what_cannot_be_packed_is_named(photos, tmp_path):
    with pytest.raises(InputError, match=r"gone\.jpg: the photo cannot be read .*mmsscl doctor data"):
        list(write_shards([str(photos / "gone.jpg")], str(photos), tmp_path / "shards"))
    (photos / ".hidden.jpg").write_bytes((photos / "0.jpg").read_bytes())
    with pytest.raises(InputError, match=r"\.hidden\.jpg: a hidden file"):
        list(write_shards([str(photos / ".hidden.jpg")], str(photos), tmp_path / "hidden"))


def test_a_photo_that_changes_meanwhile_is_told(photos, tmp_path, monkeypatch):
    real = os.stat
    for change, message in ((-100, "has grown"), (100, "not written")):
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
    assert re.fullmatch(r"12 photos in \d tar files; train with data_root='.*shards', shards='\*\.tar'\n", said)
    assert main(["shards", "write", str(photos), str(shards), "--megabytes", "0.008", "--prefix", "scenes"]) == 0
    assert re.search(r"(\d) tar files, \1 of them there already", capsys.readouterr().out)
    for index in shards.glob("*.index"):
        index.unlink()
    assert main(["shards", "index", str(shards)]) == 0
    assert "12 files in" in capsys.readouterr().out
    assert all(ShardIndex.read(str(shard)) for shard in shards.glob("*.tar"))
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
        (["write", "{photos}"], "give two paths"),
        (["write", "{photos}", "a", "b"], "give two paths"),
        (["write", "{photos}", "{out}", "--megabytes", "0"], "--megabytes 0: give a size above 0"),
        (["write", "{photos}", "{out}", "--megabytes", "nan"], "--megabytes nan: give a size above 0"),
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
    words = [word.replace("{photos}", str(photos)).replace("{out}", str(tmp_path / "out")) for word in arguments]
    assert main(["shards", *words]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("error: ")
    assert re.search(message, said[-1]), said
    assert not any("Traceback" in line for line in said)
