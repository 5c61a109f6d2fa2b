"""A file is whole or absent, whatever happens while it is written."""
import os

import pytest

from mmsscl.atomic_file import atomic_file, remove_unfinished


def test_writes_and_replaces(tmp_path):
    file = tmp_path / "deep" / "notes.txt"
    for content in (b"one", b"two"):
        with atomic_file(file) as stream:
            stream.write(content)
            assert not file.exists() or file.read_bytes() == b"one"
        assert file.read_bytes() == content
    assert os.listdir(file.parent) == ["notes.txt"]


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt(), ValueError("bug")])
def test_an_error_leaves_the_old_file_and_no_other(tmp_path, error):
    file = tmp_path / "notes.txt"
    file.write_bytes(b"old")
    def interrupted():
        with atomic_file(file) as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(type(error)):
        interrupted()
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["notes.txt"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_leaves_the_old_file(tmp_path, monkeypatch, call):
    file = tmp_path / "notes.txt"
    file.write_bytes(b"old")

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"mmsscl.atomic_file.os.{call}", fail)
    with pytest.raises(OSError, match="No space left"), atomic_file(file) as stream:
        stream.write(b"new")
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_what_a_killed_process_left_is_deleted(tmp_path):
    process = os.fork()
    if process == 0:
        with atomic_file(tmp_path / "notes.txt") as stream:
            stream.write(b"half")
            os._exit(9)
    os.waitpid(process, 0)
    (tmp_path / ".hidden").touch()
    (tmp_path / "chapter.part").touch()
    left = [name for name in os.listdir(tmp_path) if name.startswith(".notes.txt")]
    assert len(left) == 1
    assert remove_unfinished(tmp_path) == left
    assert sorted(os.listdir(tmp_path)) == [".hidden", "chapter.part"]
