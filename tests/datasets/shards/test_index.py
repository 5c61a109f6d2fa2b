import io
import os
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from mmsscl.datasets.shards import ShardIndex
from mmsscl.errors import InputError

FILES = {"a.jpg": b"first", "deep/down/b.jpg": b"", "x" * 150 + ".jpg": b"long name", "é ü.jpg": b"z" * 2000, "c.txt": b"{}"}


@pytest.fixture
def files(tmp_path):
    for name, content in FILES.items():
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "files"


def pack(folder, *options, names=(".",)):
    """What the system's own tar makes of a folder."""
    shard = folder.parent / "photos.tar"
    subprocess.run(["tar", "cf", str(shard), "-C", str(folder), *options, *names], check=True)
    return str(shard)


@pytest.mark.parametrize("kind", ["ustar", "gnu", "pax"])
def test_the_bytes_are_where_the_index_says(files, kind):
    if kind == "ustar":  # has no room for longer names
        (files / ("x" * 150 + ".jpg")).rename(files / "x.jpg")
    shard = pack(files, f"--format={kind}")
    index = ShardIndex.scan(shard)
    content = Path(shard).read_bytes()
    found = {n: content[o : o + s] for n, o, s in zip(index.names, index.offsets.tolist(), index.sizes.tolist())}
    assert found == {str(path.relative_to(files)): path.read_bytes() for path in files.rglob("*") if path.is_file()}
    assert len(found) == 5
    listed = subprocess.run(["tar", "tf", shard, "--quoting-style=literal"], check=True, capture_output=True).stdout
    names = [name.removeprefix("./") for name in os.fsdecode(listed).splitlines() if not name.endswith("/")]
    assert list(index.names) == names, "in the tar file's own order"


def test_an_index_comes_back_from_its_file(files):
    shard = pack(files)
    assert ShardIndex.read(shard) is None
    scanned = ShardIndex.scan(shard)
    assert str(scanned.write(shard)) == shard + ".index"
    read = ShardIndex.read(shard)
    assert list(read.names) == list(scanned.names)
    np.testing.assert_array_equal(read.offsets, scanned.offsets)
    np.testing.assert_array_equal(read.sizes, scanned.sizes)


def test_hidden_files_are_left_out(files):
    for name in (".DS_Store", "._a.jpg", "deep/._b.jpg"):
        (files / name).write_bytes(b"not a photo")
    assert set(ShardIndex.scan(pack(files)).names) == set(FILES)


def test_damaged_at_any_place_is_told(files):
    """Cut within headers, within photos, between files, before the end mark: tarfile alone takes half of these for whole."""
    content = Path(pack(files)).read_bytes()
    used = len(content.rstrip(b"\0"))
    whole = ShardIndex.scan(pack(files)).names
    shard = files.parent / "cut.tar"
    for length in [0, 1, 511, *range(512, used + 512, 256)]:
        shard.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cut\.tar: (not a readable tar file|the tar file is damaged or cut short)"):
            ShardIndex.scan(str(shard))
    for start in range(0, used, 512):
        broken = bytearray(content)
        broken[start + 148 : start + 156] = b"77777777"
        shard.write_bytes(broken)
        try:
            found = ShardIndex.scan(str(shard)).names
        except InputError:
            continue
        assert len(found) == len(whole), "a file's own bytes may change, a long name too, but none may be lost in silence"


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_compressed_ones_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "photos.tar", f"w:{kind}") as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"), io.BytesIO())
    with pytest.raises(InputError, match=r"not compressed.*gunzip"):
        ShardIndex.scan(str(tmp_path / "photos.tar"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_are_refused(tmp_path, kind):
    member = tarfile.TarInfo("b.jpg")
    member.type, member.linkname = kind, "a.jpg"
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"), io.BytesIO())
        tar.addfile(member)
    with pytest.raises(InputError, match=r"photos\.tar: b\.jpg is a link.*--hard-dereference"):
        ShardIndex.scan(str(tmp_path / "photos.tar"))


def test_sparse_files_are_refused(files):
    with (files / "sparse.jpg").open("wb") as file:
        file.truncate(1 << 20)
    with pytest.raises(InputError, match=r"sparse\.jpg is a link or a sparse file"):
        ShardIndex.scan(pack(files, "--sparse"))


def test_a_name_like_an_address_is_refused(tmp_path):
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("http://x/a.jpg"), io.BytesIO())
    with pytest.raises(InputError, match="'://' in its name"):
        ShardIndex.scan(str(tmp_path / "photos.tar"))


def test_absent_ones_are_named(tmp_path):
    for action in (ShardIndex.scan, ShardIndex.read):
        with pytest.raises(InputError, match=r"none\.tar: no such tar file"):
            action(str(tmp_path / "none.tar"))
    with pytest.raises(InputError, match="cannot be read"):
        ShardIndex.scan(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda shard, content: content[: len(content) // 2], "not a readable index"),
        (lambda shard, content: b"", "not a readable index"),
        (lambda shard, content: b"text", "not a readable index"),
        (lambda shard, content: saved(version=2), "of version 2, not 1"),
        (lambda shard, content: saved(version=1), "not a readable index"),
        (lambda shard, content: saved(version=np.array(object())), "not a readable index"),
        (lambda shard, content: os.truncate(shard, os.stat(shard).st_size + 512) or content, "is of a tar file of .* bytes"),
    ],
)
def test_a_wrong_index_is_told(files, change, message):
    shard = pack(files)
    file = ShardIndex.scan(shard).write(shard)
    file.write_bytes(change(shard, file.read_bytes()))
    with pytest.raises(InputError, match=rf"photos\.tar\.index: {message}.* mmsscl shards index") as caught:
        ShardIndex.read(shard)
    assert str(files.parent) in str(caught.value)


def saved(**arrays):
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=True, **arrays)
    return stream.getvalue()
