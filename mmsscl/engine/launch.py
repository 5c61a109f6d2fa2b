"""Processes, devices and threads of a run."""

import os
from typing import Any

import torch
import torch.distributed
from mmengine.config import Config
from mmengine.logging import print_log

from mmsscl.errors import InputError

WORKER_SETTINGS = ("persistent_workers", "prefetch_factor", "multiprocessing_context", "timeout")
SYNC_NORMS = ("SyncBN", "MMSyncBN", "SyncBatchNorm", "NaiveSyncBN")


def prepare_devices(config: Config, launcher: str) -> None:
    """Make a config fit the machine it runs on: data loaders without workers, the CPU's norm layers, process group and
    data-parallel wrapper.

    On a machine without a GPU every synchronised batch norm becomes an ordinary one (torch's raises on the CPU), and
    ``--launcher pytorch`` runs over gloo. Call it before the runner is built.

    Args:
        config: Changed in place.
        launcher: "none", "pytorch", "slurm" or "mpi".

    Raises:
        InputError: If a launcher's processes outnumber the GPUs, or a launcher needs a GPU and there is none.
    """
    config.launcher = launcher
    drop_worker_settings(config)
    if torch.cuda.is_available():
        _require_gpu_per_process(launcher)
        return
    replaced = replace_sync_norm(config._cfg_dict)
    if config.get("sync_bn") is not None:
        config.sync_bn = None
        replaced += 1
    if replaced:
        print_log(f"no GPU: {replaced} SyncBN settings became BN", logger="current")
    if launcher == "none":
        return
    if launcher != "pytorch":
        raise InputError(
            f"--launcher {launcher}: needs GPUs, and none is visible. "
            "On CPUs use tools/dist_train.sh CONFIG PROCESSES (--launcher pytorch)."
        )
    _join_gloo_group()
    wrapper = dict(config.get("model_wrapper_cfg") or {})
    wrapper.setdefault("type", "MMDistributedDataParallel")
    wrapper.setdefault("broadcast_buffers", False)
    wrapper["device_ids"] = None
    if config.get("find_unused_parameters"):
        wrapper.setdefault("find_unused_parameters", True)
    config.model_wrapper_cfg = wrapper


def drop_worker_settings(config: Config) -> None:
    """Switch off what only worker processes use in data loaders that have none; torch refuses the two together.

    So ``num_workers=0`` alone is enough to load in the main process, whatever the config sets for its workers.

    Args:
        config: Changed in place; what was switched off is logged.
    """
    loaders = {name: config.get(name) for name in config if name.endswith("_dataloader")}
    for name, loader in loaders.items():
        if not isinstance(loader, dict) or loader.get("num_workers"):
            continue
        dropped = [key for key in WORKER_SETTINGS if loader.get(key)]
        for key in dropped:
            del loader[key]
        if dropped:
            print_log(f"{name}: no worker processes (num_workers=0), so {', '.join(dropped)} switched off", logger="current")


def replace_sync_norm(node: Any) -> int:
    """Turn every synchronised batch norm below ``node`` into ``BN``, in place.

    Returns:
        How many there were.
    """
    count = 0
    if isinstance(node, dict):
        kind = node.get("type")
        if isinstance(kind, str) and kind.rsplit(".", 1)[-1] in SYNC_NORMS:
            node["type"] = "BN"
            count += 1
        for value in node.values():
            count += replace_sync_norm(value)
    elif isinstance(node, (list, tuple)):
        count += sum(replace_sync_norm(item) for item in node)
    return count


def leave_process_group() -> None:
    """Close this process's group, if it is in one, so that torch does not warn about it at exit."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _join_gloo_group() -> None:
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise InputError(
            f"--launcher pytorch: the environment lacks {', '.join(missing)}. "
            "Start through tools/dist_train.sh CONFIG PROCESSES (torchrun sets them)."
        )
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")


def _require_gpu_per_process(launcher: str) -> None:
    if launcher != "pytorch":
        return
    processes, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if processes > gpus:
        raise InputError(
            f"--launcher pytorch: {processes} processes on this machine, but {gpus} GPUs. "
            f"Start at most {gpus}: tools/dist_train.sh CONFIG {gpus}."
        )
