"""Photos that cannot be read are replaced, counted and listed; too many stop the run."""
import re
from pathlib import Path

import pytest
import torch

from mmsscl.datasets import RandomStreams, SceneImages
from mmsscl.engine.hooks import BadPhotosHook
from mmsscl.engine.train import train
from mmsscl.errors import InputError, UnreadableImageError
from mmsscl.saliency.refresh import WholeImages
from tests.killed_runs import KillableRun
from tests.sample_runs import NARROW, write_pretraining_config

SMALL = NARROW + """
train_dataloader.update(batch_size=2)
train_cfg = dict(type="ResumableEpochLoop", max_epochs=2)
default_hooks["checkpoint"] = dict(type="SafeCheckpointHook", interval=1)
default_hooks["bad_photos"] = dict(type="BadPhotosHook", max_ratio=0.2, interval=2)
"""


def write_config(folder, bad=("3.jpg", "7.jpg")):
    config = write_pretraining_config(folder, 10, SMALL)
    for name in bad:
        photo = folder / "photos" / name
        photo.write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    return config


def losses(runner):
    return [value for value, _ in zip(*runner.message_hub.get_scalar("train/loss").data)]


@pytest.fixture
def photos(tmp_path):
    write_config(tmp_path)
    return SceneImages(data_root=str(tmp_path / "photos"), pipeline=[{"type": "LoadSceneImage"}], seed=5)


def test_a_bad_photo_raises_unless_substitution_is_on(photos):
    with pytest.raises(UnreadableImageError, match=r"3\.jpg: the jpeg file is damaged or incomplete \(cut short"):
        photos[0, 3]
    assert "bad_index" not in photos[0, 4]
    photos.substitutes_bad = True
    assert photos[0, 4]["bad_index"] == -1
    assert photos[0, 4]["sample_idx"] == 4


def test_the_substitute_depends_on_seed_epoch_and_index_alone(photos):
    photos.substitutes_bad = True
    chosen = []
    for epoch in range(30):
        sample = photos[epoch, 3]
        assert sample["bad_index"] == 3
        assert sample["sample_idx"] not in (3, 7)
        assert sample["img_path"] == photos.path(sample["sample_idx"])
        order = RandomStreams(5, epoch, 3).stream("substitute").integers(10, size=10).tolist()
        assert sample["sample_idx"] == next(index for index in order if index not in (3, 7))
        # its crops are those that the bad photo would have had, not a copy of the other's
        assert sample["streams"].index == 3
        assert photos[epoch, 3]["sample_idx"] == sample["sample_idx"]
        chosen.append(sample["sample_idx"])
    assert len(set(chosen)) > 4


def test_a_disk_that_is_gone_is_said(photos):
    photos.substitutes_bad = True
    for index in range(10):
        Path(photos.path(index)).unlink()
    with pytest.raises(UnreadableImageError, match=r"2\.jpg: the image is absent.*10 photos that were to take its place"):
        photos[0, 2]


def test_the_refresh_shows_a_gray_image_for_a_bad_one(photos):
    with pytest.raises(UnreadableImageError):
        WholeImages(photos, 32)[3]
    photos.substitutes_bad = True
    index, image = WholeImages(photos, 32)[3]
    assert index == 3
    assert image.shape == (3, 32, 32)
    assert image.unique().tolist() == [128]
    assert len(WholeImages(photos, 32)[4][1].unique()) > 1


def test_a_run_goes_on_and_lists_them(tmp_path):
    config = write_config(tmp_path)
    runs = []
    for workers in (0, 2):
        run = KillableRun(config, tmp_path / f"run{workers}")
        run.arguments["options"] = {"train_dataloader.num_workers": workers}
        run.finish()
        runs.append(run)
        said = run.output()
        assert "2 of 10 photos could not be read, and others took their place. They are listed in" in said
        for name in ("3.jpg", "7.jpg"):
            assert said.count(f"another photo takes the place of {tmp_path}/photos/{name}: the jpeg file is damaged") == 1
        rows = (run.work_dir / "bad_photos.txt").read_text().splitlines()
        assert [row.split("\t")[0].rsplit("/", 1)[1] for row in rows] == ["3.jpg", "7.jpg"]
        assert all("cut short after" in row for row in rows)
    # whoever reads them
    checkpoints = [torch.load(run.work_dir / "epoch_2.pth", weights_only=False) for run in runs]
    assert set(checkpoints[0]["bad_photos"]) == {3, 7}
    for name, value in checkpoints[0]["state_dict"].items():
        assert torch.equal(value, checkpoints[1]["state_dict"][name]), name


def test_a_good_data_set_trains_as_without_the_hook(tmp_path):
    config = write_config(tmp_path, bad=())
    watched = train(config, work_dir=str(tmp_path / "watched"))
    alone = train(config, work_dir=str(tmp_path / "alone"), options={"default_hooks.bad_photos": None})
    assert losses(watched) == losses(alone)
    assert not (tmp_path / "watched" / "bad_photos.txt").exists()


def test_a_batch_that_does_not_tell_is_refused(tmp_path):
    hook = BadPhotosHook()
    hook._dataset = object.__new__(SceneImages)
    for batch in ({"inputs": []}, {"pairs": {"index": torch.zeros(2)}}, [torch.zeros(2)]):
        with pytest.raises(InputError, match=r"no pairs\['bad_index'\].*PackPair, or switch the hook off"):
            hook.after_train_iter(None, 0, batch)


def test_a_resumed_run_knows_those_it_met(tmp_path):
    config = write_config(tmp_path)
    whole = train(config, work_dir=str(tmp_path / "whole"))
    for name in ("3.jpg", "7.jpg"):
        (tmp_path / "photos" / name).write_bytes((tmp_path / "photos" / "0.jpg").read_bytes())
    resumed = train(config, work_dir=str(tmp_path / "rest"), resume=f"{whole.work_dir}/epoch_1.pth")
    hook = next(hook for hook in resumed.hooks if isinstance(hook, BadPhotosHook))
    assert set(hook.reasons) == {3, 7}


@pytest.mark.parametrize(("ratio", "bad", "stops"), [(0.2, 2, False), (0.2, 3, True), (0.0, 1, True), (1.0, 5, False)])
def test_too_many_stop_the_run(tmp_path, ratio, bad, stops):
    config = write_config(tmp_path, bad=[f"{index}.jpg" for index in range(bad)])
    options = {"default_hooks.bad_photos.max_ratio": ratio, "default_hooks.bad_photos.interval": 1}
    if not stops:
        train(config, work_dir=str(tmp_path / "run"), options=options)
        return
    with pytest.raises(InputError, match=rf"of 10 photos could not be read.*max_ratio={ratio:g} allows.*bad_photos\.txt"):
        train(config, work_dir=str(tmp_path / "run"), options=options)
    assert (tmp_path / "run" / "bad_photos.txt").read_text().count("\n") == (bad if ratio else 1)


def test_two_processes_agree_and_stop_together(tmp_path):
    config = write_config(tmp_path, bad=["0.jpg", "1.jpg", "2.jpg"])
    run = KillableRun(config, tmp_path / "run", world=2)
    run.arguments["options"] = {"default_hooks.bad_photos.max_ratio": 0.1}
    assert run.wait(run.start()) == [1, 1], run.output()[-3000:]
    assert len(re.findall(r"InputError: [23] of 10 photos could not be read", run.output())) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_ratio": -0.1}, r"max_ratio=-0\.1 is a share"),
        ({"max_ratio": 2}, "max_ratio=2"),
        ({"max_ratio": True}, "max_ratio=True"),
        ({"max_ratio": "1%"}, "max_ratio='1%'"),
        ({"interval": 0}, "interval=0 must be a whole number"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(InputError, match=message):
        BadPhotosHook(**arguments)
