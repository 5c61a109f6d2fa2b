"""Check a config before anything is built: registry names, keywords, checkpoints."""

import inspect
import logging
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine import registry as mmengine_registry
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DefaultScope, Registry
from torch.utils.data import DataLoader

from mmsscl.engine.checkpoints.find_checkpoint import checkpoint_files
from mmsscl.errors import InputError
from mmsscl.names import did_you_mean, near_names
from mmsscl.zoo.safe_load import is_remote, load_checkpoint

LOADER_KEYS = {"dataset", "sampler", "batch_sampler", "collate_fn", "worker_init_fn", "num_batch_per_epoch"}

# (place in the config, registry in mmengine, keys its builder takes off before the constructor sees them)
PLACES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (r"model", "MODELS", ("data_preprocessor",)),
    (r"(model\.)?data_preprocessor", "MODELS", ()),
    (r"model\.(backbone|neck|head|\w+_head)(\.(bbox_head|mask_head))?(\.\d+)?", "MODELS", ()),
    (r"\w+_dataloader(\.dataset)+(\.datasets\.\d+)?", "DATASETS", ()),
    (r"\w+_dataloader(\.dataset)+(\.datasets\.\d+)?\.pipeline\.\d+", "TRANSFORMS", ()),
    (r"\w+_dataloader\.(batch_)?sampler", "DATA_SAMPLERS", ()),
    (r"(val|test)_evaluator(\.\d+)?", "METRICS", ()),
    (r"default_hooks\.\w+", "HOOKS", ("priority",)),
    (r"custom_hooks\.\d+", "HOOKS", ("priority",)),
    (r"optim_wrapper", "OPTIM_WRAPPERS", ("constructor", "paramwise_cfg")),
    (r"optim_wrapper\.optimizer", "OPTIMIZERS", ()),
    (r"param_scheduler(\.\d+)?", "PARAM_SCHEDULERS", ("convert_to_iter_based",)),
    (r"(train|val|test)_cfg", "LOOPS", ("by_epoch",)),
    (r"visualizer", "VISUALIZERS", ()),
    (r"(visualizer\.)?vis_backends\.\d+", "VISBACKENDS", ()),
    (r"log_processor", "LOG_PROCESSORS", ()),
)


def check_config(config: Config) -> None:
    """Check the names, keywords and checkpoints of a config that is about to run.

    Photos for pretraining (``SceneImages``) need a sampler that tells them the epoch, and a pipeline that reads saliency
    maps needs the hook that makes them.
    Every component at a known place (see ``PLACES``) must be a registered name, and take the keywords it is given;
    constructors with ``**kwargs`` are left to themselves. A learning rate whose schedule ends before or after the run is
    warned of. Local files behind ``load_from`` and every
    ``init_cfg.checkpoint`` must be checkpoints that load without running code; addresses are left to mmengine.

    Args:
        config: The merged config.

    Raises:
        InputError: Naming the place, the value and the nearest valid names.
    """
    scope = str(config.get("default_scope") or "mmengine")
    with DefaultScope.overwrite_default_scope(scope):
        for place, node in _dictionaries(config._cfg_dict, ""):
            _check_component(place, node)
            if re.fullmatch(r"\w+_dataloader", place):
                _check_loader(place, node)
                _check_pair_sampler(place, node)
    _check_numbers(config)
    _check_hooks(config)
    _check_saliency(config)
    _check_schedule(config)
    check_checkpoints(config)


def check_checkpoints(config: Config) -> None:
    """Load every local checkpoint that a config names, once, safely.

    Raises:
        InputError: Naming the key, the file and what is wrong with it.
    """
    found: list[tuple[str, str]] = []
    if isinstance(config.get("load_from"), str):
        found.append(("load_from", config.load_from))
    # an own checkpoint replaces what init_cfg would load, so its file need not be there any more
    if not (config.get("resume") and (found or checkpoint_files(config.work_dir))):
        # of the top level only the model: the rest may be variables that nothing builds
        for place, node in _dictionaries(config.get("model"), "model"):
            if node.get("type") == "Pretrained" and isinstance(node.get("checkpoint"), str):
                found.append((f"{place}.checkpoint", node["checkpoint"]))
    checked: set[str] = set()
    for place, path in found:
        if path in checked or is_remote(path):
            continue
        try:
            load_checkpoint(path)
        except InputError as error:
            raise InputError(f"{place}: {error}{_remedy(place)}") from error
        checked.add(path)


def _check_numbers(config: Config) -> None:
    """Those that a run takes without a word, or fails on far from the config."""
    least = {"train_cfg": {"max_epochs": 1, "max_iters": 1}}
    least |= {name: {"batch_size": 1, "num_workers": 0} for name in config if name.endswith("_dataloader")}
    for name, wanted in least.items():
        node = config.get(name)
        for key, smallest in wanted.items() if isinstance(node, dict) else ():
            value = node.get(key, smallest)
            if not isinstance(value, int) or isinstance(value, bool) or value < smallest:
                raise InputError(f"config, {name}.{key}: is {value!r}; give a whole number from {smallest}.")


def _check_hooks(config: Config) -> None:
    hooks = config.get("custom_hooks") or []
    if not isinstance(hooks, list | tuple):
        raise InputError(f"custom_hooks: is a {type(hooks).__name__}; give a list of dicts, [dict(type='...'), ...].")
    for position, hook in enumerate(hooks):
        # mmengine takes objects too, but no config file can hold one
        if isinstance(hook, str | bytes | int | float | list | tuple) or hook is None:
            raise InputError(
                f"custom_hooks[{position}]: is {hook!r}; give a dict(type='...'). (In a config, "
                "[*{{_base_.custom_hooks}}, ...] takes the variable's text apart: name each hook.)"
            )


def _check_schedule(config: Config) -> None:
    """A run that is shortened by its length alone stops while the learning rate is still high: a warning."""
    loop, schedulers = config.get("train_cfg") or {}, config.get("param_scheduler") or []
    schedulers = [schedulers] if isinstance(schedulers, dict) else schedulers
    for number, scheduler in enumerate(schedulers):
        begin, end = scheduler.get("begin", 0), scheduler.get("end")
        if isinstance(begin, int) and isinstance(end, int) and end <= begin:
            raise InputError(
                f"config: param_scheduler.{number} ends at {end}, where it has not begun ({begin}). Give it a later "
                f"end, or an earlier begin, which is the end of the one before (param_scheduler.{number}.begin=...)."
            )
    last = schedulers[-1] if schedulers else {}
    key = "max_epochs" if last.get("by_epoch", True) else "max_iters"
    end, length = last.get("end"), loop.get(key)
    if isinstance(end, int) and isinstance(length, int) and end != length:
        print_log(
            f"config: the last param_scheduler ends at {end}, but train_cfg.{key} is {length}, so the run ends at another "
            "learning rate than the schedule. Set its end, and T_max to end - begin (param_scheduler.N.end=...).",
            logger="current", level=logging.WARNING,
        )  # fmt: skip


def _check_saliency(config: Config) -> None:
    """A list of hooks is replaced, not merged, by whoever sets it: without this the run would quietly be a plain one."""
    hooks = {str(hook.get("type")).removeprefix("mmsscl.") for hook in config.get("custom_hooks") or []}
    for place, node in _dictionaries(config.get("train_dataloader"), "train_dataloader"):
        reads = str(node.get("type")).removeprefix("mmsscl.") == "LoadSaliency" and not node.get("store")
        if reads and "SaliencyRefreshHook" not in hooks:
            raise InputError(
                f"{place}: LoadSaliency waits for maps that no hook makes, so the run would be one without saliency. Add "
                "dict(type='SaliencyRefreshHook') to custom_hooks (setting that list replaces the inherited one), or take "
                "LoadSaliency and ScoreCrops out of the pipeline."
            )


def explain_build_error(error: BaseException) -> InputError | None:
    """Turn a registry's error about a config into an ``InputError``; None for any other error.

    Places that :func:`check_config` does not know, and constructors that take ``**kwargs``, only fail when built.
    """
    text = str(error.args[0]) if error.args else ""
    unknown = re.search(r"(\S+) is not in the (\S+) registry", text)
    if isinstance(error, KeyError) and unknown:
        name, where = unknown.groups()
        return InputError(
            f"config: type {name!r} is not in the registry {where}. Check the spelling, and the prefix of its package "
            "(mmpretrain.ResNet, mmsscl.SCRL)."
        )
    keyword = re.search(r"(\w+)(?:\.__init__)?\(\) ((?:got an unexpected keyword|missing \d+ required) .*)", text)
    if isinstance(error, TypeError) and keyword and _raised_by_registry(error):
        name, detail = keyword.groups()
        return InputError(f"config: {name} cannot be built: it {detail}. Mend its entry in the config.")
    return None


def _raised_by_registry(error: BaseException) -> bool:
    """Whether the call that failed was the registry's own, with the config's keywords; else it is a bug of some code."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).name == "build_functions.py"


def _remedy(place: str) -> str:
    if not place.endswith("init_cfg.checkpoint"):
        return ""
    return (
        f" Export a backbone by tools/export_backbone.py CKPT OUT and pass it as --cfg-options {place}=OUT "
        f"(random weights: {place.rsplit('.', 1)[0]}=None)."
    )


def _dictionaries(node: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if place:
            yield place, node
        for key in node:
            yield from _dictionaries(node[key], f"{place}.{key}" if place else str(key))
    elif isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from _dictionaries(item, f"{place}.{index}")


def _check_component(place: str, node: dict[str, Any]) -> None:
    kind = node.get("type")
    if not isinstance(kind, str):
        return
    known_place = next((entry for entry in PLACES if re.fullmatch(entry[0], place)), None)
    if known_place is None:
        return
    _, registry_name, taken = known_place
    root: Registry = getattr(mmengine_registry, registry_name)
    with root.switch_scope_and_registry(node.get("_scope_")) as registry:
        component = registry.get(kind)
        if component is None:
            known = _registered_names(registry)
            near = near_names(kind, known) or near_names(kind.rsplit(".", 1)[-1], known)
            raise InputError(
                f"config, {place}: type {kind!r} is not registered. "
                + did_you_mean(near, "Check the spelling, and the prefix of its package (mmpretrain.ResNet, mmsscl.SCRL).")
            )
    _check_keywords(place, kind, component, node, taken)


def _registered_names(registry: Registry) -> set[str]:
    """Names that can be written here: those of this scope and of mmengine plain, those of other packages prefixed."""
    root = registry.root
    names = set(registry.module_dict) | set(root.module_dict)
    for scope, child in root.children.items():
        names |= {f"{scope}.{name}" for name in child.module_dict}
    return names


def _check_keywords(place: str, kind: str, component: Any, node: dict[str, Any], taken: tuple[str, ...]) -> None:
    try:
        parameters = inspect.signature(component.__init__ if inspect.isclass(component) else component).parameters
    except (TypeError, ValueError):
        return  # a builtin without a signature
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    valid = [name for name in parameters if name != "self"]
    for key in node:
        if key in ("type", "_scope_", "_delete_") or key in taken or key in valid:
            continue
        raise InputError(
            f"config, {place}: {kind} takes no keyword {key!r}. "
            f"{did_you_mean(near_names(key, valid))} Its keywords: {', '.join(valid)}."
        )


def _check_loader(place: str, node: dict[str, Any]) -> None:
    valid = LOADER_KEYS | set(inspect.signature(DataLoader.__init__).parameters) - {"self"}
    for key in node:
        if key not in valid:
            raise InputError(
                f"config, {place}: a data loader takes no key {key!r}. "
                f"{did_you_mean(near_names(key, valid))} Its keys: {', '.join(sorted(valid))}."
            )


def _check_pair_sampler(place: str, node: dict[str, Any]) -> None:
    """mmengine's samplers give plain indices: every epoch would repeat the crops of epoch 0, in silence, and a data set
    smaller than one batch would train nothing and call that success."""
    dataset, sampler = (str((node.get(key) or {}).get("type")).rsplit(".", 1)[-1] for key in ("dataset", "sampler"))
    if dataset == "SceneImages" and sampler in ("DefaultSampler", "InfiniteSampler"):
        raise InputError(
            f"config, {place}.sampler: {sampler} does not tell SceneImages the epoch, so every epoch would draw the same "
            "crops. Set it to dict(type='EpochIndexSampler', shuffle=True)."
        )
