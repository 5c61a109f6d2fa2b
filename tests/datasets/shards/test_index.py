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
    for name in (".DS_Store", "._a.jpg", "deep/._b.jpg", ".ipynb_checkpoints/a-checkpoint.jpg"):
        (files / name).parent.mkdir(exist_ok=True)
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
        with pytest.raises(InputError, match=r"cut\.tar: (not a readable tar file|the tar file is damaged, cut short)"):
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


def test_two_tar_files_in_one_are_told(files):
    content = Path(pack(files)).read_bytes()
    Path(files.parent / "two.tar").write_bytes(content * 2)
    with pytest.raises(InputError, match=r"two\.tar: the tar file is damaged, cut short or put together of several"):
        ShardIndex.scan(str(files.parent / "two.tar"))


def test_a_hole_is_told(files):
    shard = Path(pack(files))
    whole = ShardIndex.scan(str(shard))
    content = bytearray(shard.read_bytes())
    start = int(whole.offsets[2]) - 512
    content[start : start + 512] = bytes(512)
    shard.write_bytes(content)
    with pytest.raises(InputError, match=rf"damaged, cut short or put together of several, at byte {start}"):
        ShardIndex.scan(str(shard))


def test_a_name_that_is_there_twice_is_told(files):
    shard = pack(files)
    subprocess.run(["tar", "rf", shard, "-C", str(files), "./a.jpg"], check=True)
    with pytest.raises(InputError, match=r"holds a\.jpg more than once, as tar --update"):
        ShardIndex.scan(shard)


@pytest.mark.parametrize("header", [{"path": ""}, {"size": "9" * 30}, {"GNU.sparse.map": "a,b", "GNU.sparse.size": "3"}])
def test_headers_that_make_no_sense_are_told(tmp_path, header):
    member = tarfile.TarInfo("a.jpg")
    member.pax_headers = header
    with tarfile.open(tmp_path / "photos.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member, io.BytesIO())
    with pytest.raises(InputError, match=r"photos\.tar: "):
        ShardIndex.scan(str(tmp_path / "photos.tar"))


def test_names_that_are_no_text_stay_as_they_are(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    with tarfile.open(tmp_path / "photos.tar", "w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    assert list(ShardIndex.scan(str(tmp_path / "photos.tar")).names) == [name]


def test_an_index_of_the_same_photos_in_another_order_is_told(tmp_path):
    """Such a tar file often has the same size, since tar files are rounded up."""
    shard = tmp_path / "photos.tar"

    def write(order):
        with tarfile.open(shard, "w") as tar:
            for number in order:
                member = tarfile.TarInfo(f"{number}.jpg")
                member.size = 10 * number
                tar.addfile(member, io.BytesIO(bytes(10 * number)))
        return shard.stat().st_size

    size = write(range(30))
    ShardIndex.scan(str(shard)).write(str(shard))
    assert ShardIndex.read(str(shard)) is not None
    assert write(reversed(range(30))) == size
    with pytest.raises(InputError, match=r"is of a tar file with other files than .*mmsscl shards index"):
        ShardIndex.read(str(shard))


def test_a_changed_byte_in_an_index_never_gives_other_photos(files):
    shard = pack(files)
    whole = ShardIndex.scan(shard)
    file = whole.write(shard)
    content = file.read_bytes()
    told = 0
    for position in range(0, len(content), 7):
        broken = bytearray(content)
        broken[position] ^= 0x5A
        file.write_bytes(broken)
        try:
            found = ShardIndex.read(shard)
        except InputError:
            told += 1
            continue
        assert list(found.names) == list(whole.names), position
        np.testing.assert_array_equal(found.offsets, whole.offsets)
        np.testing.assert_array_equal(found.sizes, whole.sizes)
    assert told > len(content) / 7 / 4


def test_absent_ones_are_named(tmp_path):
    for action in (ShardIndex.scan, ShardIndex.read):
        with pytest.raises(InputError, match=r"none\.tar: no such tar file"):
            action(str(tmp_path / "none.tar"))
    with pytest.raises(InputError, match="cannot be read"):
        ShardIndex.scan(str(tmp_path))


def cut_array(shard, content):
    with np.load(io.BytesIO(content)) as found:
        return saved(**{**found, "ends": found["ends"][:-2]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda shard, content: content[: len(content) // 2], "not a readable index"),
        (lambda shard, content: b"", "not a readable index"),
        (lambda shard, content: b"text", "not a readable index"),
        (lambda shard, content: saved(version=2), "of version 2, not 1"),
        (lambda shard, content: saved(version=1), "not a readable index"),
        (lambda shard, content: saved(version=np.arange(3)), "not a readable index"),
        (cut_array, "not a readable index"),
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
