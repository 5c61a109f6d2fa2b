import pickle

import numpy as np
import pytest

from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.datasets.transforms import LoadSaliency
from mmsscl.datasets.transforms.load_saliency import partners
from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS
from mmsscl.saliency.baseline_maps import gaussian_map
from mmsscl.saliency.schedule import SaliencySchedule
from mmsscl.saliency.store import SaliencyStore

COUNT = 6
SCHEDULE = SaliencySchedule(warmup_epochs=2, ramp_epochs=4, interval=3, max_epochs=9)


def fill(path, seed):
    generator = np.random.default_rng(seed)
    maps = generator.integers(0, 256, (COUNT, 5, 5), dtype=np.uint8)
    trust = generator.integers(1, 256, COUNT, dtype=np.uint8)
    store = SaliencyStore.open(path, writable=True)
    store.write(range(COUNT), maps, trust)
    store.commit(epoch=2)
    return maps / np.float32(255), trust / 255


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "store.bin"
    SaliencyStore.create(file, "6:f", COUNT, 5)
    return file


def sample(index=3, epoch=4, **keys):
    return {"sample_idx": index, "epoch": epoch, "streams": RandomStreams(0, epoch, index)} | keys


def connected(path, source="store", **options):
    transform = TRANSFORMS.build({"type": "LoadSaliency", "source": source, **options})
    transform.connect(str(path), SCHEDULE, "6:f")
    return transform


def test_unconnected_gives_none_for_each_source():
    for source in ("store", "shuffled", "gaussian", "uniform"):
        assert LoadSaliency(source)(sample())["saliency"] is None


def test_gives_the_images_map_trust_and_the_epochs_strength(path):
    maps, trust = fill(path, 0)
    transform = connected(path)
    for epoch, strength in ((0, 0.0), (2, 0.25), (4, 0.75), (8, 1.0)):
        for index in range(COUNT):
            saliency = transform(sample(index, epoch))["saliency"]
            np.testing.assert_allclose(saliency.values, maps[index], rtol=1e-6)
            assert saliency.values.dtype == np.float32
            assert saliency.trust == pytest.approx(trust[index])
            assert saliency.strength == strength
            assert saliency.guidance == pytest.approx(strength * trust[index])


def test_generator_is_the_stream_and_plain_streams_are_untouched(path):
    fill(path, 0)
    results = connected(path)(sample(3, 4))
    fresh = RandomStreams(0, 4, 3)
    for name in ("crop", "box", "photometric"):
        assert results["streams"].stream(name).random() == fresh.stream(name).random()
    assert results["saliency"].generator is results["streams"].stream("saliency")
    assert results["saliency"].generator.random() == fresh.stream("saliency").random()


def test_a_refresh_is_seen_by_the_same_transform(path):
    transform = connected(path)
    assert transform(sample())["saliency"].guidance == 0
    maps, trust = fill(path, 1)
    saliency = transform(sample())["saliency"]
    np.testing.assert_allclose(saliency.values, maps[3], rtol=1e-6)
    assert saliency.trust == pytest.approx(trust[3])


@pytest.mark.parametrize("source", ["shuffled", "gaussian", "uniform"])
def test_controls_keep_trust_and_strength_and_take_another_map(path, source):
    maps, trust = fill(path, 0)
    transform = connected(path, source)
    found = [transform(sample(index, 5))["saliency"] for index in range(COUNT)]
    assert [saliency.trust for saliency in found] == pytest.approx(list(trust))
    assert {saliency.strength for saliency in found} == {1.0}
    for index, saliency in enumerate(found):
        assert not np.allclose(saliency.values, maps[index], atol=1 / 255)
        assert saliency.values.shape == (5, 5)
        if source == "gaussian":
            np.testing.assert_array_equal(saliency.values, gaussian_map(5))
            assert np.unravel_index(saliency.values.argmax(), (5, 5)) == (2, 2)
        elif source == "uniform":
            assert np.ptp(saliency.values) == 0
            assert saliency.values[0, 0] > 0
    if source == "shuffled":
        taken = [int(np.abs(maps - saliency.values).max((1, 2)).argmin()) for saliency in found]
        assert sorted(taken) == list(range(COUNT)), "each map is given to one image"
        again = [transform(sample(index, 8))["saliency"].values for index in range(COUNT)]
        np.testing.assert_array_equal([saliency.values for saliency in found], again)


@pytest.mark.parametrize("count", [2, 3, 7, 1000])
def test_shuffling_has_no_fixed_point(count):
    seen = set()
    for seed in range(20):
        permutation = partners(count, seed)
        assert sorted(permutation) == list(range(count))
        assert (permutation != np.arange(count)).all()
        seen.add(permutation.tobytes())
    assert len(seen) == {2: 1, 3: 2}.get(count, 20)


def test_survives_pickling_with_its_connection(path):
    maps, _ = fill(path, 0)
    copy = pickle.loads(pickle.dumps(connected(path, "shuffled", seed=3)))
    original = connected(path, "shuffled", seed=3)
    for index in range(COUNT):
        np.testing.assert_array_equal(
            copy(sample(index))["saliency"].values, original(sample(index))["saliency"].values
        )
    assert len(pickle.dumps(connected(path))) < 2000, "the mapped file must stay behind"
    assert maps.max() > 0


def test_finished_store_without_a_hook_or_streams(path):
    maps, trust = fill(path, 0)
    transform = LoadSaliency(store=str(path))
    np.random.seed(0)
    one, two = (transform({"sample_idx": 2})["saliency"] for _ in range(2))
    assert one.strength == 1.0
    assert one.guidance == pytest.approx(trust[2])
    np.testing.assert_allclose(one.values, maps[2], rtol=1e-6)
    assert one.generator.random() != two.generator.random()
    np.random.seed(0)
    assert transform({"sample_idx": 2})["saliency"].generator.random() != two.generator.random()
    with pytest.raises(InputError, match=r"index 6 is outside 0\.\.5.*another data set"):
        transform({"sample_idx": 6})


def test_store_without_maps_is_refused_unless_a_schedule_waits_for_them(path):
    with pytest.raises(InputError, match=r"store\.bin holds no saliency maps yet.*run that is finished") as error:
        LoadSaliency(store=str(path))
    assert str(path) in str(error.value)
    for source in ("store", "uniform"):
        with pytest.raises(InputError, match="holds no saliency maps yet"):
            LoadSaliency(source).connect(str(path), None, "6:f")
    assert connected(path)(sample())["saliency"].guidance == 0
    fill(path, 0)
    transform = LoadSaliency(store=str(path))
    # a new run in that work_dir put an empty store there before a worker opens it
    SaliencyStore.create(path, "6:f", COUNT, 5)
    worker = pickle.loads(pickle.dumps(transform))
    with pytest.raises(InputError, match="holds no saliency maps yet"):
        worker({"sample_idx": 0})


def test_wrong_arguments_are_refused(path, tmp_path):
    with pytest.raises(InputError, match=r"source='maps'.*store, shuffled"):
        LoadSaliency("maps")
    with pytest.raises(InputError, match="another data set"):
        LoadSaliency().connect(str(path), SCHEDULE, "6:g")
    with pytest.raises(InputError, match="no such saliency store"):
        LoadSaliency(store=str(tmp_path / "absent.bin"))
    SaliencyStore.create(tmp_path / "one.bin", "1:f", 1, 5)
    with pytest.raises(InputError, match="2 images or more"):
        LoadSaliency("shuffled").connect(str(tmp_path / "one.bin"), SCHEDULE, "1:f")
    LoadSaliency("uniform").connect(str(tmp_path / "one.bin"), SCHEDULE, "1:f")
