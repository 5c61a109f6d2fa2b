"""The whole data path gives the same batches whatever the number of workers and ranks."""

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from mmsscl.datasets import EpochIndexSampler, SceneImages

PIPELINE = [
    {"type": "LoadSceneImage"},
    {
        "type": "SpatialConsistentPair",
        "size": 64,
        "views": [{"type": "RandomAreaCrop"}, {"type": "RandomAreaCrop"}],
        "boxes": {"type": "GridBoxes", "num_boxes": 4, "min_size": 8},
    },
    {"type": "DrawPhotometric"},
    {"type": "PackPair"},
]


@pytest.fixture(scope="module")
def photo_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(18):
        height, width = rng.integers(80, 200, 2)
        pixels = cv2.resize(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8), (int(width), int(height)))
        cv2.imwrite(str(folder / f"{number:02d}.{'png' if number % 3 else 'jpg'}"), pixels)
    return str(folder)


def batches(folder: str, workers: int = 0, rank: int = 0, ranks: int = 1, epochs=(0, 1), seed: int = 0) -> list[dict]:
    dataset = SceneImages(folder, pipeline=PIPELINE, seed=seed)
    sampler = EpochIndexSampler(dataset, seed=seed, rank=rank, world_size=ranks)
    loader = DataLoader(
        dataset,
        batch_size=8 // ranks,
        sampler=sampler,
        num_workers=workers,
        drop_last=True,
        persistent_workers=workers > 0,
        collate_fn=default_collate,
    )
    found = []
    for epoch in epochs:
        sampler.set_epoch(epoch)
        found.extend(loader)
    return found


def flat(batch: dict) -> dict[str, torch.Tensor]:
    return {"view1": batch["inputs"][0], "view2": batch["inputs"][1], **batch["pairs"]}


def assert_equal(first: list[dict], second: list[dict]) -> None:
    assert len(first) == len(second) == 4
    for one, other in zip(map(flat, first), map(flat, second), strict=True):
        assert one.keys() == other.keys()
        for key in one:
            assert torch.equal(one[key], other[key]), key


@pytest.fixture(scope="module")
def reference(photo_folder):
    return batches(photo_folder)


@pytest.mark.parametrize("workers", [2, 4])
def test_number_of_workers(photo_folder, reference, workers):
    assert_equal(batches(photo_folder, workers), reference)


def test_global_random_state_has_no_part(photo_folder, reference):
    torch.manual_seed(99)
    np.random.seed(99)
    assert_equal(batches(photo_folder), reference)


def test_epochs_and_seeds_differ(photo_folder, reference):
    by_index = [
        {int(i): flat(batch)["geometry"][k] for batch in half for k, i in enumerate(batch["pairs"]["index"])}
        for half in (reference[:2], reference[2:])
    ]
    both = by_index[0].keys() & by_index[1].keys()
    assert len(both) > 8
    assert not any(torch.equal(by_index[0][index], by_index[1][index]) for index in both)
    other = batches(photo_folder, seed=1)
    assert not torch.equal(other[0]["pairs"]["photometric"], reference[0]["pairs"]["photometric"])


def test_a_single_sample_can_be_redrawn(photo_folder, reference):
    dataset = SceneImages(photo_folder, pipeline=PIPELINE, seed=0)
    batch = flat(reference[3])
    for position, index in enumerate(batch["index"].tolist()):
        sample = flat(dataset[1, index])
        for key, value in sample.items():
            assert torch.equal(value, batch[key][position]), key


def test_number_of_ranks(photo_folder, reference):
    halves = [batches(photo_folder, rank=rank, ranks=2) for rank in range(2)]
    joined = []
    for one, other in zip(*halves, strict=True):
        # Rank r holds every second entry of the global batch from the r-th on.
        stacked = {key: torch.stack([flat(one)[key], flat(other)[key]], dim=1).flatten(0, 1) for key in flat(one)}
        joined.append({"inputs": [stacked.pop("view1"), stacked.pop("view2")], "pairs": stacked})
    assert_equal(joined, reference)
