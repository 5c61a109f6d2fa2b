import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from mmsscl.datasets.transforms import PackPair
from mmsscl.errors import InputError


def sample(index: int = 5) -> dict:
    rng = np.random.default_rng(index)
    return {
        "views": [torch.from_numpy(rng.integers(0, 256, (3, 8, 8), dtype=np.uint8)) for _ in range(2)],
        "geometry": rng.random((2, 5)).astype(np.float32),
        "boxes": rng.random((2, 4, 4)).astype(np.float32),
        "valid": np.array([True, False, True, True]),
        "photometric": rng.random((2, 9)).astype(np.float32),
        "sample_idx": index,
        "img_path": "photo.jpg",
    }


def test_packs_and_collates():
    samples = [sample(5), sample(2**40)]
    batch = default_collate([PackPair()(dict(item)) for item in samples])
    assert set(batch) == {"inputs", "pairs"}
    assert [(view.dtype, tuple(view.shape)) for view in batch["inputs"]] == [(torch.uint8, (2, 3, 8, 8))] * 2
    pairs = batch["pairs"]
    assert {key: (value.dtype, tuple(value.shape)) for key, value in pairs.items()} == {
        "geometry": (torch.float32, (2, 2, 5)),
        "boxes": (torch.float32, (2, 2, 4, 4)),
        "valid": (torch.bool, (2, 4)),
        "photometric": (torch.float32, (2, 2, 9)),
        "index": (torch.int64, (2,)),
    }
    assert pairs["index"].tolist() == [5, 2**40]
    for position, item in enumerate(samples):
        for view in range(2):
            assert torch.equal(batch["inputs"][view][position], item["views"][view])
        for key in ("geometry", "boxes", "valid", "photometric"):
            np.testing.assert_array_equal(pairs[key][position].numpy(), item[key])


@pytest.mark.parametrize(("key", "source"), [("views", "SpatialConsistentPair"), ("photometric", "DrawPhotometric")])
def test_missing_transform_is_named(key, source):
    results = sample()
    del results[key]
    with pytest.raises(InputError, match=f"{key}.*{source}"):
        PackPair()(results)


def test_optional_keys_are_packed_where_present():
    results = sample() | {
        "view_scores": np.array([0.5, 1.0], np.float32),
        "box_scores": np.ones(4, np.float32),
        "guidance": np.float32(0.25),
    }
    batch = default_collate([PackPair()(dict(results)), PackPair()(dict(results))])["pairs"]
    assert {key: (batch[key].dtype, tuple(batch[key].shape)) for key in ("view_scores", "box_scores", "guidance")} == {
        "view_scores": (torch.float32, (2, 2)),
        "box_scores": (torch.float32, (2, 4)),
        "guidance": (torch.float32, (2,)),
    }
    assert batch["guidance"].tolist() == [0.25, 0.25]
    assert not any(key.startswith("local") for key in batch)


def test_local_crops_in_the_wrong_place_are_named():
    local = {"local_views": torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "local_geometry": np.ones((2, 5), np.float32)}
    with pytest.raises(InputError, match="LocalCrops before DrawPhotometric"):
        PackPair()(sample() | local)
    local["local_photometric"] = np.ones((2, 9), np.float32)
    assert PackPair()(sample() | local)["pairs"]["local_views"].dtype == torch.uint8
    with pytest.raises(InputError, match="LocalCrops before ScoreCrops"):
        PackPair()(sample() | local | {"view_scores": np.ones(2, np.float32)})
