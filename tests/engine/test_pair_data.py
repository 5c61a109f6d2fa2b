"""The run's seed and batch size reach the pretraining data."""
from mmengine.config import Config

from mmsscl.engine.pair_data import complete_pair_data


def config(**loader):
    return Config({"randomness": {"seed": 7}, "train_dataloader": {"batch_size": 4, **loader}})


def test_open_settings_are_filled():
    settings = config(dataset={"type": "SceneImages"}, sampler={"type": "mmsscl.EpochIndexSampler"})
    complete_pair_data(settings)
    assert settings.train_dataloader.dataset.seed == 7
    assert settings.train_dataloader.sampler.batch_size == 4


def test_what_the_config_says_stays():
    settings = config(
        dataset={"type": "SceneImages", "seed": 3}, sampler={"type": "EpochIndexSampler", "batch_size": 2}
    )
    complete_pair_data(settings)
    assert settings.train_dataloader.dataset.seed == 3
    assert settings.train_dataloader.sampler.batch_size == 2


def test_other_components_are_left_alone():
    settings = config(dataset={"type": "CocoDataset"}, sampler={"type": "DefaultSampler", "shuffle": True})
    before = settings.to_dict()
    complete_pair_data(settings)
    assert settings.to_dict() == before
    complete_pair_data(Config({"model": {"type": "BYOL"}}))  # nothing to train: nothing to complete


def test_no_seed_given_keeps_the_data_sets_own():
    settings = Config({"train_dataloader": {"batch_size": 4, "dataset": {"type": "SceneImages"}}})
    complete_pair_data(settings)
    assert "seed" not in settings.train_dataloader.dataset
