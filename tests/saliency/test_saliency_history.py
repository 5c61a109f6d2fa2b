"""The maps of a few images at every refresh: what is kept, replaced, begun anew and refused."""
import numpy as np
import pytest

from mmsscl.errors import InputError
from mmsscl.saliency.history import append_history, read_history, spread_indices

COUNT, SIZE = 40, 3


def refresh(seed, count=COUNT, size=SIZE):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, size, size), np.uint8), generator.integers(0, 256, count, np.uint8)


def append(path, epoch, seed=None, fingerprint="40:ab", **options):
    append_history(path, fingerprint, epoch, *refresh(epoch if seed is None else seed), **options)


def check(history, seeds):
    """Each epoch's entry is that of its seed, for 16 images evenly spread."""
    indices = [round(k * 39 / 15) for k in range(16)]
    assert history.indices.tolist() == indices
    assert list(history.maps) == list(history.trust) == sorted(seeds)
    for epoch, seed in seeds.items():
        maps, trust = refresh(seed)
        np.testing.assert_array_equal(history.maps[epoch], maps[indices])
        np.testing.assert_array_equal(history.trust[epoch], trust[indices])


def test_each_refresh_is_added(tmp_path):
    file = tmp_path / "history.npz"
    for epoch in (5, 10, 100):
        append(file, epoch)
    history = read_history(file, "40:ab")
    assert history.fingerprint == "40:ab"
    check(history, {5: 5, 10: 10, 100: 100})
    assert [path.name for path in tmp_path.iterdir()] == ["history.npz"]


def test_a_resumed_run_replaces_its_epoch_and_drops_later_ones(tmp_path):
    for epoch in (5, 10, 15, 20):
        append(tmp_path / "h.npz", epoch)
    append(tmp_path / "h.npz", 10, seed=77)
    check(read_history(tmp_path / "h.npz"), {5: 5, 10: 77})
    append(tmp_path / "h.npz", 15)
    check(read_history(tmp_path / "h.npz"), {5: 5, 10: 77, 15: 15})


def test_another_data_set_or_grid_or_run_begins_anew(tmp_path):
    file = tmp_path / "h.npz"
    append(file, 5)
    append(file, 10, fingerprint="40:cd")
    assert read_history(file).fingerprint == "40:cd"
    check(read_history(file), {10: 10})
    append_history(file, "40:cd", 15, *refresh(0, size=5))
    assert {epoch: maps.shape for epoch, maps in read_history(file).maps.items()} == {15: (16, 5, 5)}
    append_history(file, "40:cd", 20, *refresh(0, count=9, size=5))
    assert read_history(file).indices.tolist() == list(range(9))
    append(file, 30, anew=True)
    append(file, 40)
    check(read_history(file), {30: 30, 40: 40})


@pytest.mark.parametrize(("count", "most", "wanted"), [(1, 16, [0]), (4, 16, [0, 1, 2, 3]), (5, 3, [0, 2, 4]), (9, 1, [0])])
def test_indices_are_spread(count, most, wanted):
    assert spread_indices(count, most).tolist() == wanted


def test_other_files_are_refused(tmp_path):
    file = tmp_path / "h.npz"
    with pytest.raises(InputError, match=r"h\.npz: no such file"):
        read_history(file)
    append(file, 5)
    with pytest.raises(InputError, match=r"h.npz: holds .* maps of another data set \(40 images.*the config's: 41"):
        read_history(file, "41:ab")
    content = file.read_bytes()
    damaged = bytearray(content)
    damaged[content.index(b"maps_5.npy") + 80] ^= 255
    for wrong in (b"", b"mmssclSM" + bytes(300), content[:200], bytes(damaged)):
        file.write_bytes(wrong)
        with pytest.raises(InputError, match=r"h\.npz: is no saliency history.*Give the saliency_history\.npz"):
            read_history(file)
    np.save(tmp_path / "plain.npy", np.zeros(3))
    with pytest.raises(InputError, match="is no saliency history"):
        read_history(tmp_path / "plain.npy")
    maps, trust = refresh(0)
    for changes in (
        {"maps_5": maps[:3]}, {"trust_5": trust.astype(float)}, {"maps_5": maps[0]}, {"extra": trust}, {"maps_6": maps},
    ):  # fmt: skip
        fields = {"fingerprint": np.array("40:ab"), "indices": np.arange(COUNT), "maps_5": maps, "trust_5": trust}
        np.savez(file, **(fields | changes))
        with pytest.raises(InputError, match="is no saliency history"):
            read_history(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_history(tmp_path)


def test_what_cannot_be_written_leaves_the_old_file(tmp_path, monkeypatch):
    append(tmp_path / "h.npz", 5)

    def fail(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mmsscl.atomic_file.os.replace", fail)
    with pytest.raises(InputError, match="No space left"):
        append(tmp_path / "h.npz", 10)
    check(read_history(tmp_path / "h.npz"), {5: 5})
    assert [path.name for path in tmp_path.iterdir()] == ["h.npz"]
    with pytest.raises(InputError, match="cannot be written"):
        append(tmp_path / "absent" / "h.npz", 5)
