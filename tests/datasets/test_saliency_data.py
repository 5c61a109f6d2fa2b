"""The data path with saliency: the same for any number of workers, and without guidance the plain one to the bit."""
import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from mmsscl.datasets import EpochIndexSampler, SceneImages
from mmsscl.saliency.store import SaliencyStore

COUNT = 18
SALIENT = {
    "views": [{"type": "SaliencyCrop", "lambda_max": 1.0}] * 2,
    "boxes": {"type": "SaliencyBoxes", "num_boxes": 4, "min_size": 8},
    "max_iou": 0.8,
}
PLAIN = {"views": [{"type": "RandomAreaCrop"}] * 2, "boxes": {"type": "GridBoxes", "num_boxes": 4, "min_size": 8}}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        # among them panoramas, an image smaller than a local crop and a constant one
        height, width = {3: (2, 600), 4: (700, 20), 5: (9, 11)}.get(number, tuple(rng.integers(80, 200, 2)))
        pixels = cv2.resize(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8), (int(width), int(height)))
        cv2.imwrite(str(folder / f"{number:02d}.png"), pixels * 0 + 90 if number == 6 else pixels)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Maps of which the first is all zeros, the second constant; the third has no trust."""
    path = tmp_path_factory.mktemp("store") / "saliency.store"
    SaliencyStore.create(path, "test", COUNT, 14)
    maps = np.random.default_rng(1).random((COUNT, 14, 14)) ** 4
    maps[0], maps[1] = 0, 0.5
    trust = np.full(COUNT, 0.8)
    trust[2] = 0
    filled = SaliencyStore.open(path, writable=True)
    filled.write(np.arange(COUNT), maps, trust)
    filled.commit(1)
    return path


def batches(photos, store, pair: dict, workers: int = 0, local: bool = True) -> list[dict]:
    pipeline = [
        {"type": "LoadSceneImage"},
        *([{"type": "LoadSaliency", "store": str(store)}] if store else []),
        {"type": "SpatialConsistentPair", "size": 64, **pair},
        *([{"type": "LocalCrops", "number": 2, "size": 32}] if local else []),
        {"type": "DrawPhotometric"},
        {"type": "ScoreCrops"},
        {"type": "PackPair"},
    ]
    dataset = SceneImages(str(photos), pipeline=pipeline)
    loader = DataLoader(
        dataset,
        batch_size=6,
        sampler=EpochIndexSampler(dataset, seed=0),
        num_workers=workers,
        collate_fn=default_collate,
    )
    return [{"view1": batch["inputs"][0], "view2": batch["inputs"][1], **batch["pairs"]} for batch in loader]


def test_same_batches_for_any_number_of_workers(photos, store):
    reference, parallel = (batches(photos, store, SALIENT, workers) for workers in (0, 2))
    assert len(reference) == len(parallel) == 3
    for one, other in zip(reference, parallel):
        assert one.keys() == other.keys()
        assert {"view_scores", "box_scores", "guidance", "local_views", "local_scores"} < one.keys()
        for key in one:
            assert torch.equal(one[key], other[key]), key
            assert torch.isfinite(one[key]).all(), key
        guided = torch.isclose(one["guidance"], torch.tensor(0.8), atol=0.01)
        assert torch.equal(guided, one["index"] != 2)
        assert not one["view_scores"][one["index"] == 0].any()


def test_without_guidance_all_is_plain_to_the_bit_and_local_crops_change_nothing(photos, tmp_path):
    SaliencyStore.create(tmp_path / "new", "test", COUNT, 14)
    flat = SaliencyStore.open(tmp_path / "new", writable=True)  # a refresh whose maps are not trusted
    flat.write(range(COUNT), np.random.default_rng(2).random((COUNT, 14, 14)), np.zeros(COUNT))
    flat.commit(1)
    plain = batches(photos, None, PLAIN)
    guided = batches(photos, tmp_path / "new", SALIENT)
    without = batches(photos, None, PLAIN, local=False)
    for one, other, third in zip(plain, guided, without, strict=True):
        assert one.keys() == other.keys()
        scores = {key for key in one if key.endswith("scores")}
        for key in one.keys() - scores:
            assert torch.equal(one[key], other[key]), key
        assert not other["guidance"].any()
        assert set(one.keys() - third.keys()) == {key for key in one if key.startswith("local")}
        for key in third:
            assert torch.equal(one[key], third[key]), key


def test_guidance_changes_the_views(photos, store):
    plain, guided = batches(photos, None, PLAIN), batches(photos, store, SALIENT)
    moved = torch.cat([(a["geometry"] != b["geometry"]).flatten(1).any(1) for a, b in zip(plain, guided)])
    indices = torch.cat([batch["index"] for batch in plain])
    assert not moved[indices == 2].any()
    assert moved.float().mean() > 0.5
