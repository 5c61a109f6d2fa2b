import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from mmsscl.datasets import SceneImages
from mmsscl.errors import InputError
from mmsscl.saliency.store import SaliencyStore, dataset_fingerprint
from mmsscl.zoo.safe_load import load_checkpoint
from tests.sample_runs import write_photos

HEADER = 256


@pytest.fixture
def path(tmp_path):
    """A store of five maps of 3 x 3, refreshed once."""
    file = tmp_path / "deep" / "store.bin"
    SaliencyStore.create(file, "5:abc", count=5, size=3)
    generator = np.random.default_rng(0)
    store = SaliencyStore.open(file, "5:abc", writable=True)
    store.write(range(5), generator.random((5, 3, 3)), generator.random(5))
    store.commit(epoch=7)
    return file


def test_new_store_gives_no_guidance(tmp_path):
    SaliencyStore.create(tmp_path / "s.bin", "2:a", count=2, size=14)
    store = SaliencyStore.open(tmp_path / "s.bin", "2:a")
    values, trust = store.read(1)
    assert (store.version, store.epoch, len(store), trust) == (0, -1, 2, 0.0)
    assert values.shape == (14, 14)
    assert values.dtype == np.float32
    assert store.verify()


def test_layout_is_the_documented_one(path):
    """Read with struct alone: header of 256 bytes, trusts, maps."""
    data = path.read_bytes()
    magic, form, size, count, version, epoch, writing, checksum = struct.unpack_from("<8sIIQQqII", data)
    assert (magic, form, size, count, version, epoch, writing) == (b"mmssclSM", 2, 3, 5, 1, 7, 0)
    assert data[48:HEADER].rstrip(b"\0") == b"5:abc"
    assert len(data) == HEADER + 5 + 5 * 9
    # all but "writing" and itself
    assert checksum == zlib.crc32(data[:40] + data[48:])
    store = SaliencyStore.open(path)
    for index in range(5):
        values, trust = store.read(index)
        assert trust == data[HEADER + index] / 255
        cells = np.frombuffer(data, np.uint8, 9, HEADER + 5 + 9 * index).reshape(3, 3)
        np.testing.assert_allclose(values, cells / 255, rtol=1e-6)


def test_values_are_rounded_to_the_nearest_255th(path):
    store = SaliencyStore.open(path, writable=True)
    wanted = np.linspace(-0.2, 1.2, 18).reshape(2, 3, 3)
    store.write([4, 1], wanted, np.array([0.25, 2.0]))
    assert np.abs(store.read(4)[0] - wanted[0].clip(0, 1)).max() <= 0.5 / 255 + 1e-6
    assert np.abs(store.read(1)[0] - wanted[1].clip(0, 1)).max() <= 0.5 / 255 + 1e-6
    assert store.read(1)[1] == 1.0
    maps, trust = store.read_many([1, 4])
    np.testing.assert_array_equal(maps[0], store.read(1)[0])
    np.testing.assert_allclose(trust, [1.0, 64 / 255], rtol=1e-6)


def test_open_reader_sees_a_write_at_once_and_gets_copies(path):
    reader, writer = SaliencyStore.open(path), SaliencyStore.open(path, writable=True)
    before, _ = reader.read(2)
    kept = before.copy()
    writer.write([2], np.full((1, 3, 3), 255, np.uint8), np.array([255], np.uint8))
    writer.commit(epoch=9)
    assert reader.read(2)[0].min() == 1
    assert (reader.version, reader.epoch) == (2, 9)
    np.testing.assert_array_equal(before, kept)


def test_reader_cannot_write(path):
    with pytest.raises(ValueError, match="read-only"):
        SaliencyStore.open(path).write([0], np.zeros((1, 3, 3)), np.zeros(1))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-1], "305 bytes where its header"),
        (lambda data: data + b"\0", "where its header"),
        (lambda data: data[:100], "shorter than its header"),
        (lambda data: b"", "shorter than its header"),
    ],
)
def test_damaged_files_are_named_with_a_remedy(path, damage, words):
    data = path.read_bytes()
    path.write_bytes(damage(data))
    with pytest.raises(InputError, match=words) as error:
        SaliencyStore.open(path)
    assert str(path) in str(error.value)
    assert "Delete this file and resume" in str(error.value)


# version, epoch, checksum, fingerprint (within and after its text), trust, maps
@pytest.mark.parametrize("place", [24, 31, 32, 44, 48, 50, 52, HEADER - 1, HEADER, -1])
def test_changed_byte_is_found_by_verify(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="checksum") as error:
        SaliencyStore.open(path).verify()
    assert str(path) in str(error.value)


def test_damaged_fingerprint_is_damage_and_not_another_data_set(path):
    data = path.read_bytes()
    for byte in (b"\xff", b"6"):
        path.write_bytes(data[:48] + byte + data[49:])
        with pytest.raises(InputError, match="damaged or cut short") as error:
            SaliencyStore.open(path, "5:abc")
        assert str(path) in str(error.value)
    path.write_bytes(data[:48] + b"\xff" + data[49:])
    with pytest.raises(InputError, match="fingerprint in its header is no text"):
        SaliencyStore.open(path)


def test_fingerprint_must_fit_the_header(tmp_path):
    file = tmp_path / "s.bin"
    SaliencyStore.create(file, "x" * 208, count=1, size=3)
    assert SaliencyStore.open(file, "x" * 208).fingerprint == "x" * 208
    for text in ("x" * 209, "\u00e9" * 105):  # of the second one, cut at 208 bytes, nothing but the end would be lost
        with pytest.raises(InputError, match=r"fingerprint of 2\d\d bytes; the file has room for 208"):
            SaliencyStore.create(file, text, count=1, size=3)
    assert SaliencyStore.open(file).verify()


def test_refresh_cut_off_is_told_from_damage(path):
    writer = SaliencyStore.open(path, writable=True)
    writer.write([0], np.zeros((1, 3, 3)), np.zeros(1))
    assert not SaliencyStore.open(path).verify()
    writer.commit(epoch=8)
    assert SaliencyStore.open(path).verify()


def test_other_data_set_format_and_absent_file_are_refused(path):
    with pytest.raises(InputError, match="another data set") as error:
        SaliencyStore.open(path, "5:abd")
    assert str(path) in str(error.value)
    data = bytearray(path.read_bytes())
    data[8] = 9
    path.write_bytes(data)
    with pytest.raises(InputError, match="format 9"):
        SaliencyStore.open(path)
    with pytest.raises(InputError, match="no such saliency store"):
        SaliencyStore.open(path.with_name("none.bin"))
    with pytest.raises(InputError, match=r"is no saliency store \(a folder"):
        SaliencyStore.open(path.parent)
    path.write_bytes(b"<html>??" + data[8:])
    with pytest.raises(InputError, match=r"is no saliency store \(it begins with"):
        SaliencyStore.open(path)


def test_arrays_that_do_not_fit_are_refused(path):
    store = SaliencyStore.open(path, writable=True)
    before = store.state()["maps"]
    for indices, maps, trust in (
        ([0], np.zeros((1, 3, 4)), np.zeros(1)),
        ([0, 1], np.zeros((1, 3, 3)), np.zeros(2)),
        ([0], np.zeros((1, 3, 3)), np.zeros(2)),
        ([5], np.zeros((1, 3, 3)), np.zeros(1)),
        ([-1], np.zeros((1, 3, 3)), np.zeros(1)),
    ):
        with pytest.raises(InputError, match=r"store\.bin"):
            store.write(indices, maps, trust)
    for index in (5, -1):
        with pytest.raises(IndexError):
            store.read(index)
    assert torch.equal(store.state()["maps"], before)
    assert store.verify()
    for count, size in ((0, 3), (3, 0), (3, 1025)):
        with pytest.raises(InputError, match="SaliencyStore"):
            SaliencyStore.create(path, "a", count, size)


def test_create_replaces_and_needs_a_writable_place(path, tmp_path):
    SaliencyStore.create(path, "2:b", count=2, size=4)
    assert len(SaliencyStore.open(path, "2:b")) == 2
    assert [file.name for file in path.parent.iterdir()] == ["store.bin"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        SaliencyStore.create(tmp_path / "file" / "store.bin", "2:b", count=2, size=4)


def test_state_passes_through_a_checkpoint(path, tmp_path):
    store = SaliencyStore.open(path)
    torch.save({"saliency_store": store.state()}, tmp_path / "epoch.pth")
    state = load_checkpoint(tmp_path / "epoch.pth")["saliency_store"]
    other = tmp_path / "other.bin"
    SaliencyStore.create(other, "5:abc", count=5, size=3)
    SaliencyStore.open(other, writable=True).restore(state)
    assert other.read_bytes() == path.read_bytes()


def test_state_of_an_empty_store_is_restored_too(tmp_path):
    for name in ("a.bin", "b.bin"):
        SaliencyStore.create(tmp_path / name, "2:a", count=2, size=3)
    store = SaliencyStore.open(tmp_path / "a.bin", writable=True)
    store.restore(SaliencyStore.open(tmp_path / "b.bin").state())
    assert (store.version, store.epoch, store.verify()) == (0, -1, True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fingerprint": "5:zzz"}, "another data set"),
        ({"size": 4}, "map_size=4"),
        ({"format": 1}, "format 1, this version reads 2"),
        ({"maps": torch.zeros(4, 3, 3, dtype=torch.uint8)}, r"damaged \(maps is torch.uint8 \(4, 3, 3\)"),
        ({"maps": torch.zeros(5, 3, 3)}, r"damaged \(maps is torch.float32"),
        ({"trust": None}, r"damaged \(trust is NoneType"),
        ({"version": -1}, "damaged"),
        ({"epoch": "seven"}, "damaged"),
    ],
)
def test_states_that_do_not_fit_are_refused(path, change, words):
    store = SaliencyStore.open(path, writable=True)
    before = path.read_bytes()
    with pytest.raises(InputError, match=words) as error:
        store.restore(store.state() | change, "epoch_3.pth")
    assert "epoch_3.pth" in str(error.value)
    incomplete = store.state()
    del incomplete["trust"]
    for state in (incomplete, None, "text"):
        with pytest.raises(InputError, match=r"epoch_3\.pth.*without .*trust"):
            store.restore(state, "epoch_3.pth")
    assert path.read_bytes() == before


def test_fingerprint_follows_the_images_and_not_the_place(tmp_path):
    first = write_photos(tmp_path / "a" / "photos", 3, size=16)
    second = write_photos(tmp_path / "elsewhere" / "b" / "images", 3, size=16)
    whole = SceneImages(data_root=str(first))
    print_of = dataset_fingerprint(whole)
    assert print_of.startswith("3:")
    assert len(print_of) == 34
    assert dataset_fingerprint(SceneImages(data_root=str(second))) == print_of
    assert dataset_fingerprint(SceneImages(data_root=str(first), indices=[0, 2, 1])) != print_of
    assert dataset_fingerprint(SceneImages(data_root=str(first), indices=2)) != print_of
    (second / "1.jpg").rename(second / "x.jpg")
    assert dataset_fingerprint(SceneImages(data_root=str(second))) != print_of


class Infos(list):
    """A data set of mmengine's kind, as far as paths go."""

    def get_data_info(self, index):
        return {"img_path": str(self[index])}


def write_files(*paths, size=7):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    return Infos(paths)


def test_fingerprint_of_several_folders_one_image_and_mmengine_data_sets(tmp_path, monkeypatch):
    data, disk = tmp_path / "data", tmp_path / "disk"
    paths = write_files(data / "coco/a.jpg", data / "voc/b.jpg")
    moved = write_files(disk / "coco/a.jpg", disk / "voc/b.jpg")
    joined = write_files(data / "coco/a.jpg", data / "coco/b.jpg")
    prints = [dataset_fingerprint(names) for names in (paths, moved, joined)]
    assert prints[0] == prints[1] != prints[2]
    monkeypatch.chdir(write_files(tmp_path / "here/a.jpg", tmp_path / "here/b.jpg")[0].parent)
    assert dataset_fingerprint(Infos(["a.jpg"])) == dataset_fingerprint(Infos(paths[:1]))
    mixed = dataset_fingerprint(Infos(["a.jpg", str(data / "voc/b.jpg")]))
    assert mixed != dataset_fingerprint(Infos(["a.jpg", "b.jpg"]))
    assert dataset_fingerprint(Infos()).startswith("0:")


def test_fingerprint_tells_other_files_of_the_same_names(tmp_path):
    paths = [Path("photos", f"{number:04}.jpg") for number in range(130)]
    first = dataset_fingerprint(write_files(*(tmp_path / "a" / path for path in paths)))
    others = write_files(*(tmp_path / "b" / path for path in paths))
    assert dataset_fingerprint(others) == first
    # 64 of 130 files are looked at: of three in a row one at least, the first and the last always
    for changed in ([0], [129], [63, 64, 65]):
        for number in changed:
            others[number].write_bytes(b"longer than before")
        assert dataset_fingerprint(others) != first, changed
        for number in changed:
            others[number].write_bytes(bytes(7))
    # the order of two sizes counts
    few = write_files(tmp_path / "c/0.jpg", size=1) + write_files(tmp_path / "c/1.jpg", size=2)
    swapped = write_files(tmp_path / "d/0.jpg", size=2) + write_files(tmp_path / "d/1.jpg", size=1)
    assert dataset_fingerprint(Infos(few)) != dataset_fingerprint(Infos(swapped))


def test_fingerprint_of_absent_files_and_of_addresses(tmp_path):
    paths = write_files(*(tmp_path / f"{number}.jpg" for number in range(3)))
    paths[2].unlink()
    with pytest.raises(InputError, match=r"2\.jpg: an image .* cannot be found .*data_root"):
        dataset_fingerprint(paths)
    here, there, other = ([f"s3://{place}/{name}.jpg" for name in names] for place, names in
                          (("a", "xy"), ("b", "xy"), ("a", "xz")))  # fmt: skip
    assert dataset_fingerprint(Infos(here)) == dataset_fingerprint(Infos(there)) != dataset_fingerprint(Infos(other))
