"""A run that saliency guides, cut and resumed, ends as the whole one: maps, crops, weights and network to the bit."""
from pathlib import Path

import pytest
import torch

from mmsscl.cli import main
from mmsscl.engine.train import train
from mmsscl.saliency.store import SaliencyStore
from tests.sample_runs import GUIDED, NARROW, write_pretraining_config

pytestmark = pytest.mark.usefixtures("one_thread")

GUIDED_RUN = NARROW + GUIDED + "train_cfg['max_epochs'] = 4\n"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_pretraining_config(tmp_path_factory.mktemp("guided"), 8, GUIDED_RUN)


@pytest.fixture(scope="module")
def whole(config):
    return train(config, work_dir=str(config.parent / "whole"))


def losses(runner):
    return [value for value, _ in zip(*runner.message_hub.get_scalar("train/loss").data)]


# Before the third epoch maps are averaged with the checkpoint's; the last epoch has no refresh: all its maps are those.
@pytest.mark.parametrize("epochs_done", [2, 3])
def test_guided_run_resumed_equals_the_whole_one(tmp_path, config, whole, epochs_done):
    _resume_and_compare(tmp_path, config, whole, epochs_done, {})


def test_so_does_one_whose_photos_were_packed_into_tar_files_meanwhile(tmp_path, config, whole):
    shards = tmp_path / "shards"
    assert main(["shards", "write", str(config.parent / "photos"), str(shards), "--megabytes", "0.01"]) == 0
    assert len(list(shards.glob("*.tar"))) > 1
    for file in (config.parent / "photos").iterdir():
        file.rename(tmp_path / file.name)  # nothing may be read from where it was
    options = {"train_dataloader.dataset.data_root": str(shards), "train_dataloader.dataset.shards": "*.tar"}
    try:
        _resume_and_compare(tmp_path, config, whole, 2, options)
    finally:
        for file in tmp_path.glob("*.jpg"):
            file.rename(config.parent / "photos" / file.name)


def _resume_and_compare(tmp_path, config, whole, epochs_done, options):
    maps, trust = SaliencyStore.open(f"{whole.work_dir}/saliency_store.bin").read_many(range(8))
    assert trust.min() > 0.1, "every image must have been guided for this to tell"
    assert maps.std((1, 2)).min() > 0.1
    checkpoint = f"{whole.work_dir}/epoch_{epochs_done}.pth"
    resumed = train(config, work_dir=str(tmp_path / "run"), resume=checkpoint, options=options)
    kept, wanted = (Path(run.work_dir, "saliency_store.bin").read_bytes() for run in (resumed, whole))
    assert kept == wanted
    assert resumed.iter == whole.iter == 8
    rest = 2 * (4 - epochs_done)
    assert losses(resumed)[-rest:] == losses(whole)[-rest:]
    state = resumed.model.state_dict()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_the_checkpoints_maps_decide_how_it_goes_on(tmp_path, config, whole):
    """What the comparison above would miss if a resumed run did not look at its maps."""
    checkpoint = torch.load(f"{whole.work_dir}/epoch_3.pth", weights_only=False)
    checkpoint["saliency_store"]["maps"] = checkpoint["saliency_store"]["maps"].flip(0, 1)
    torch.save(checkpoint, tmp_path / "other.pth")
    resumed = train(config, work_dir=str(tmp_path / "run"), resume=str(tmp_path / "other.pth"))
    assert losses(resumed)[-2:] != losses(whole)[-2:]
