"""What the pretraining data needs to know about the run: its seed and its batch."""
from mmengine.config import Config


def complete_pair_data(config: Config) -> None:
    """Hand the run's seed and batch size to the data set and the sampler, where the config leaves them open.

    mmengine passes its seed to the sampler only, and no batch size. Without the seed every run would draw the same
    crops; without the batch size a data set smaller than one global batch would train for zero iterations in silence,
    and a resume in the middle of an epoch would decode all the images it skips.

    Args:
        config: Changed in place: ``train_dataloader.dataset.seed``, ``train_dataloader.sampler.batch_size``. Configs
            with other data sets and samplers are left alone.
    """
    loader = config.get("train_dataloader")
    if not loader:
        return
    dataset, sampler = loader.get("dataset") or {}, loader.get("sampler") or {}
    seed = (config.get("randomness") or {}).get("seed")
    if _is(dataset, "SceneImages") and seed is not None:
        dataset.setdefault("seed", seed)
    if _is(sampler, "EpochIndexSampler"):
        sampler.setdefault("batch_size", loader.get("batch_size"))


def _is(component: dict, name: str) -> bool:
    return str(component.get("type")).rsplit(".", 1)[-1] == name
