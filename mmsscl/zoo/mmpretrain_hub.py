"""Make the zoo's models known to ``mmpretrain.list_models`` and ``mmpretrain.get_model``."""
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from mmsscl.errors import InputError
from mmsscl.zoo.catalogue import all_entries, find, shipped_folder
from mmsscl.zoo.entry import Entry
from mmsscl.zoo.fetch import fetch

SCHEME = "mmsscl://"


def register_models() -> list[str]:
    """Enter all models of the zoo into mmpretrain's hub; again, to enter those that were published since.

    ``get_model(NAME)`` builds what the entry's config describes: the whole pretraining network of our recipes, a network
    for features of others' backbones. ``pretrained=True`` fills its backbone from the zoo's file, downloaded and checked as
    ``mmsscl zoo download`` does (the target's too, where there is one); necks and heads are not published and stay random.
    Entries whose config is not installed are listed, and say so when they are to be built.

    Returns:
        The names.

    Raises:
        InputError: A zoo is malformed, or a model of mmpretrain, or another of ours, has the name of one of ours in upper or
            lower case.

    Example:
        >>> from mmpretrain import get_model  # doctest: +SKIP
        >>> register_models()  # doctest: +SKIP
        >>> get_model("scrl_r18_toy", pretrained=True).backbone  # doctest: +SKIP
    """
    from mmengine.runner import CheckpointLoader
    from mmpretrain.apis.model import ModelHub

    import mmsscl.registry  # noqa: F401  (a scope that nobody has imported is not found)

    hub_class = _hub_class()
    ModelHub._register_mmpretrain_models()
    ours: dict[str, str] = {}
    for entry in all_entries(_say).values():
        name = entry.name.lower()
        present = ModelHub._models_dict.get(name)
        if present is not None and not isinstance(present, hub_class):
            raise InputError(f"{entry.place}: mmpretrain has a model named {entry.name}. Choose another name.")
        if name in ours:
            raise InputError(f"{entry.place}: {entry.name} and {ours[name]} are one name to mmpretrain. Choose another.")
        ModelHub._models_dict[name] = hub_class.of(entry)
        ours[name] = entry.name
    CheckpointLoader.register_scheme(SCHEME, _load, force=True)
    return list(ours.values())


def _load(address: str, map_location: Any = None) -> dict[str, Any]:
    """The checkpoint behind an address of our scheme, its keys as a whole model has them."""
    from mmsscl.zoo.safe_load import load_checkpoint, state_dict_of

    name = address.removeprefix(SCHEME)
    file = fetch(find(name, all_entries(_say)), _say)
    content = load_checkpoint(file)
    state = state_dict_of(content, file)
    return {**content, "state_dict": {f"backbone.{key}": value for key, value in state.items()}}


def _config_of(entry: Entry) -> Any:
    from mmengine.config import Config

    file: Path | None = shipped_folder() / entry.config if entry.config is not None else None
    if file is None or not file.is_file():
        missing = "names no config" if file is None else f"names the config {entry.config}, which is not installed"
        raise InputError(
            f"{entry.name}: cannot be built, because {entry.place} {missing}. Its weights go into any network of their "
            f"architecture ({entry.metadata.get('Backbone', 'see its metadata')}): `mmsscl zoo show {entry.name}`."
        )
    config = Config.fromfile(str(file))
    # mmpretrain builds in its own scope, where our names are not known
    config.model["_scope_"] = config.get("default_scope", "mmpretrain")
    return config


def _hub_class() -> Any:
    from modelindex.models.Model import Model

    global _ZooModel
    if _ZooModel is None:

        class ZooModel(Model):
            """A model of the zoo, whose config is read when it is built."""

            entry: Entry

            @classmethod
            def of(cls, entry: Entry) -> "ZooModel":
                """The hub's form of an entry."""
                results = [dict(task=each.task, dataset=each.dataset, metrics=each.metrics) for each in entry.results]
                model = cls(
                    name=entry.name, metadata=dict(entry.metadata), results=results or None, in_collection=entry.method,
                    weights=None if entry.weights is None else SCHEME + entry.name, _filepath=entry.place,
                )  # fmt: skip
                model.entry = entry
                return model

            @property
            def config(self) -> Any:
                """As read from its file, for building in any scope."""
                return _config_of(self.entry)

        _ZooModel = ZooModel
    return _ZooModel


_ZooModel: Any = None


def _say(message: str) -> None:
    print_log(message, logger="current")
