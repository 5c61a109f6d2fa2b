"""Run a config: pretraining, detection transfer or classification."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

import mmsscl.registry  # noqa: F401  the scope mmsscl exists from here on
from mmsscl.checkout import commit_of_checkout
from mmsscl.engine.checkpoints.atomic_backend import install_atomic_saving
from mmsscl.engine.checkpoints.find_checkpoint import check_whole, newest_checkpoint
from mmsscl.engine.config import load_config
from mmsscl.engine.dataset_from_folders import apply_dataset_from_folders
from mmsscl.engine.dataset_from_json import apply_dataset_from_json
from mmsscl.engine.hooks.preemption_hook import Preempted
from mmsscl.engine.launch import leave_process_group, prepare_devices
from mmsscl.engine.pair_data import complete_pair_data
from mmsscl.engine.preflight import check_config, explain_build_error
from mmsscl.environment import installed_versions
from mmsscl.errors import InputError
from mmsscl.rank_errors import failing_together
from mmsscl.version import __version__
from mmsscl.zoo.safe_load import install_safe_loader, is_remote

_MMENGINE_HOOKS = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint")
_RUNS = count()


def train(
    config: str | Path,
    work_dir: str | None = None,
    resume: str | None = None,
    amp: str | None = None,
    auto_scale_lr: bool = False,
    options: dict[str, Any] | None = None,
    launcher: str = "none",
) -> Runner:
    """Train what a config describes, after checking it.

    Args:
        config: Path of the config; its ``default_scope`` decides whose components it names.
        work_dir: Where logs and checkpoints go; else the config's ``work_dir``, else ``work_dirs/<name of the config>``.
        resume: "auto" (the newest whole checkpoint in ``work_dir``; without one the run starts anew) or a checkpoint's path.
        amp: "bf16" or "fp16" (GPU only): mixed precision.
        auto_scale_lr: Scale the learning rate by the images of an optimizer step (all processes, accumulation included)
            over ``auto_scale_lr.base_batch_size``. The momentum of the target network stays as the config says.
        options: Dotted keys and values merged into the config.
        launcher: "none", "pytorch", "slurm" or "mpi".

    Returns:
        The runner, after training.

    Raises:
        InputError: If the config, an option, a checkpoint or the data is not usable; the message says what to mend.
        Preempted: A ``PreemptionHook`` has saved the run because a signal told it to stop.

    Example:
        >>> train("configs/scrl_r50_coco.py", options={"train_dataloader.batch_size": 32})  # doctest: +SKIP
    """
    settings = load_config(config, options)
    _set_work_dir(settings, config, work_dir)
    _set_resume(settings, resume)
    if amp is not None:
        _set_precision(settings, amp)
    if auto_scale_lr:
        _set_auto_scale(settings)
    for key in ("train_dataloader", "train_cfg", "optim_wrapper", "model"):
        if settings.get(key) is None:
            raise InputError(f"config {config}: has no {key}, so there is nothing to train. Set it, or use tools/test.py.")
    resumes_newest = (bool(settings.get("resume")) and settings.get("load_from") is None) or resume == "auto"
    runner = build_runner(settings, launcher)
    # mmsscl report reads this line
    packages = {"mmsscl": __version__, "commit": commit_of_checkout() or "unknown", **installed_versions()}
    runner.logger.info(", ".join(f"{name} {version}" for name, version in packages.items()))
    try:
        with build_errors_explained():
            if resumes_newest:
                _resume_newest(runner)
            runner.train()
    except Preempted:
        leave_process_group()
        raise
    leave_process_group()
    return runner


def build_runner(settings: Config, launcher: str = "none") -> Runner:
    """Check a config, fit it to the machine and build its runner.

    Args:
        settings: The merged config, with ``work_dir``; changed in place.
        launcher: "none", "pytorch", "slurm" or "mpi".

    Raises:
        InputError: As :func:`train`.
    """
    os.environ.setdefault("LOCAL_RANK", "0")
    install_safe_loader()
    install_atomic_saving()
    register_scope(str(settings.get("default_scope") or "mmengine"))
    apply_dataset_from_json(settings)
    apply_dataset_from_folders(settings)
    complete_pair_data(settings)
    check_config(settings)
    drop_absent_hooks(settings)
    prepare_devices(settings, launcher)
    _tell_runs_apart(settings)
    with build_errors_explained(), _values_explained(settings):
        return Runner.from_cfg(settings) if "runner_type" not in settings else RUNNERS.build(settings)


def _tell_runs_apart(settings: Config) -> None:
    """Number the runs of one process: mmengine names them by config and second, and runs of one name share their log.

    So do visualizers of one name, which is in every config of mmdet's: the second run's figures went to the first's folder.
    """
    number = next(_RUNS)
    if number and settings.get("experiment_name") is None:
        settings.experiment_name = f"{Path(settings.filename or 'run').stem}_{number}"
    visualizer = settings.get("visualizer")
    if number and isinstance(visualizer, dict) and visualizer.get("name"):
        visualizer["name"] = f"{visualizer['name']}_{number}"


@contextmanager
def _values_explained(settings: Config) -> Iterator[None]:
    """Let what a constructor says of a config's value leave as ``InputError``, in one line."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        if isinstance(error, InputError) or explain_build_error(error) is not None:
            raise
        detail = " ".join(str(error.args[0] if error.args else error).split()) or "an assertion failed"
        raise InputError(
            f"config {settings.filename}: cannot be built: {detail[:300]} ({type(error).__name__}). Correct the value that "
            "it names. MMSSCL_TRACEBACK=1 shows where it comes from."
        ) from error


def drop_absent_hooks(settings: Config) -> None:
    """Take out the default hooks that are ``None``: mmengine knows this way to switch a hook off for its own six alone.

    Args:
        settings: Changed in place.
    """
    hooks = settings.get("default_hooks") or {}
    for name in [name for name, hook in hooks.items() if hook is None and name not in _MMENGINE_HOOKS]:
        del hooks[name]


def register_scope(scope: str) -> None:
    """Import the components of a scope, as its own ``tools/train.py`` does.

    Raises:
        InputError: If the package of the scope is not installed.
    """
    try:
        if scope == "mmdet":
            from mmdet.utils import register_all_modules, setup_cache_size_limit_of_dynamo

            register_all_modules(init_default_scope=False)
            setup_cache_size_limit_of_dynamo()
        elif scope == "mmpretrain":
            from mmpretrain.utils import register_all_modules

            register_all_modules(init_default_scope=False)
    except ModuleNotFoundError as error:
        raise InputError(
            f"default_scope {scope!r}: cannot import {error.name}. Install it: pip install -r requirements/core.txt."
        ) from error


@contextmanager
def build_errors_explained() -> Iterator[None]:
    """Let registry errors about a config, and a full disk, leave as ``InputError``."""
    try:
        yield
    except (KeyError, TypeError) as error:
        explained = explain_build_error(error)
        if explained is None:
            raise
        raise explained from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(
            f"{error.filename or 'the work_dir'}: {error.strerror}. Make room (all saved checkpoints are whole) and "
            "go on with --resume."
        ) from error


def _set_work_dir(settings: Config, config: str | Path, work_dir: str | None) -> None:
    if work_dir is not None:
        settings.work_dir = work_dir
    elif settings.get("work_dir") is None:
        settings.work_dir = str(Path("work_dirs") / Path(config).stem)
    if Path(settings.work_dir).is_file():
        raise InputError(f"--work-dir {settings.work_dir}: is a file. Name a folder; it is made where it is missing.")


def _set_resume(settings: Config, resume: str | None) -> None:
    if resume is None:
        return
    if resume == "auto":
        # which checkpoint is found when the work_dir is known; a new run starts from the config's load_from
        settings.resume = False
        return
    if not is_remote(resume):
        check_whole(resume)
    settings.resume = True
    settings.load_from = resume


def _resume_newest(runner: Runner) -> None:
    """Let the runner resume from the newest whole checkpoint in its folder, the same on all ranks."""
    found: list[str | None] = [None]
    with failing_together():
        if is_main_process():
            newest = newest_checkpoint(runner.work_dir)
            found = [None if newest is None else str(newest)]
    broadcast_object_list(found)
    if found[0] is None:
        runner.logger.info(f"--resume: {runner.work_dir} has no checkpoint yet, so the run starts anew.")
        runner._resume = False
    else:
        runner.logger.info(f"resuming from {found[0]}")
        runner._resume, runner._load_from = True, found[0]


def _set_precision(settings: Config, amp: str) -> None:
    import torch

    if amp == "fp16" and not torch.cuda.is_available():
        raise InputError("--amp fp16: needs a GPU, and none is visible. Use --amp bf16 on a CPU.")
    wrapper = settings.optim_wrapper
    kind = str(wrapper.get("type", "OptimWrapper")).rsplit(".", 1)[-1]
    if kind not in ("OptimWrapper", "AmpOptimWrapper", "BFloat16OptimWrapper"):
        raise InputError(f"--amp {amp}: cannot change optim_wrapper.type {kind!r}. Set its precision in the config.")
    for key in ("dtype", "loss_scale", "use_fsdp"):
        wrapper.pop(key, None)
    if amp == "bf16":
        # mmengine's AmpOptimWrapper refuses to run on a CPU, and its scaler reads a flag back at every step
        wrapper.type = "mmsscl.BFloat16OptimWrapper"
    else:
        wrapper.update(type="AmpOptimWrapper", dtype="float16", loss_scale="dynamic")


def _set_auto_scale(settings: Config) -> None:
    scaling = settings.get("auto_scale_lr")
    if not scaling or "base_batch_size" not in scaling:
        raise InputError(
            "--auto-scale-lr: the config has no auto_scale_lr.base_batch_size, the batch its learning rate was set for. "
            "Add auto_scale_lr = dict(base_batch_size=...)."
        )
    # mmengine compares this with the images of one iteration, not of one optimizer step
    settings.auto_scale_lr.base_batch_size /= settings.optim_wrapper.get("accumulative_counts", 1)
    settings.auto_scale_lr.enable = True
