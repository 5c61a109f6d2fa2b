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
