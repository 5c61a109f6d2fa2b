"""Views and boxes to look for regions in."""
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.datasets.transforms import DrawPhotometric, GridBoxes, RandomAreaCrop, SpatialConsistentPair
from mmsscl.datasets.transforms.loading import read_photo
from mmsscl.errors import InputError
from mmsscl.evaluation.region_pairs import PairSettings, RegionBatch, region_batches
from mmsscl.models.augment import apply_photometric_
from tests.sample_runs import write_photos

SMALL = dict(size=64, num_boxes=4, min_size=8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = write_photos(tmp_path_factory.mktemp("pairs"), count=5)
    return sorted(str(path) for path in folder.iterdir())


def joined(paths: list[str], settings: PairSettings) -> RegionBatch:
    batches = list(region_batches(paths, settings))
    parts = [torch.cat([batch[field] for batch in batches], dim=1) for field in (1, 2)]
    valid = torch.cat([batch.valid for batch in batches])
    return RegionBatch([path for batch in batches for path in batch.paths], *parts, valid)


def test_drawn_as_in_training(photos: list[str]) -> None:
    settings = PairSettings(**SMALL, seed=3, photometric=True, batch_size=2)
    drawn = joined(photos, settings)
    assert drawn.paths == photos
    pair = SpatialConsistentPair(64, [RandomAreaCrop()] * 2, GridBoxes(4, 8))
    for index, path in enumerate(photos):
        sample = pair.transform(dict(image=read_photo(path), streams=RandomStreams(3, 0, index)))
        rows = DrawPhotometric().transform(sample)["photometric"]
        for view in range(2):
            np.testing.assert_array_equal(drawn.boxes[view, index], sample["boxes"][view])
            image = sample["views"][view][None].float()
            wanted = apply_photometric_(image, torch.from_numpy(rows[view : view + 1])).round()[0]
            torch.testing.assert_close(drawn.views[view, index].float(), wanted, atol=1, rtol=0)
        np.testing.assert_array_equal(drawn.valid[index], sample["valid"])
    assert (drawn.views.dtype, drawn.views.shape) == (torch.uint8, (2, 5, 3, 64, 64))


def test_a_function_of_the_seed_and_of_nothing_else(photos: list[str]) -> None:
    plain = joined(photos, PairSettings(**SMALL))
    for again in (PairSettings(**SMALL, batch_size=1), PairSettings(**SMALL, batch_size=5)):
        for one, other in zip(plain[1:], joined(photos, again)[1:], strict=True):
            assert torch.equal(one, other)
    other = joined(photos, PairSettings(**SMALL, seed=1))
    assert not torch.equal(other.boxes, plain.boxes)
    distorted = joined(photos, PairSettings(**SMALL, photometric=True))
    assert torch.equal(distorted.boxes, plain.boxes)
    assert (distorted.views.float() - plain.views.float()).abs().mean() > 5
    once = joined(photos, PairSettings(**SMALL, photometric=True, batch_size=3))
    assert torch.equal(once.views, distorted.views)


@pytest.mark.parametrize(
    ("changes", "text"),
    [(dict(batch_size=0), "batch_size=0"), (dict(size=8), "do not fit views of size=8"), (dict(num_boxes=0), "num_boxes=0")],
)
def test_settings_that_cannot_be(photos: list[str], changes: dict[str, int], text: str) -> None:
    with pytest.raises(InputError, match=text):
        next(region_batches(photos, PairSettings(**(SMALL | changes))))


def test_photos_that_cannot_be_used(photos: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no photos"):
        next(region_batches([], PairSettings(**SMALL)))
    cv2.imwrite(str(tmp_path / "tiny.png"), np.zeros((7, 90, 3), np.uint8))
    with pytest.raises(InputError, match=r"tiny\.png: 90 x 7 pixels, too small .*min_size=8"):
        next(region_batches([*photos, str(tmp_path / "tiny.png")], PairSettings(**SMALL)))
    (tmp_path / "torn.jpg").write_bytes(Path(photos[0]).read_bytes()[:300])
    with pytest.raises(InputError, match=r"torn\.jpg: .*damaged"):
        next(region_batches([*photos, str(tmp_path / "torn.jpg")], PairSettings(**SMALL)))
