"""Evaluate a transfer or classification config on a checkpoint."""

import json
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process

from mmsscl.engine.config import load_config
from mmsscl.engine.launch import leave_process_group
from mmsscl.engine.train import build_errors_explained, build_runner
from mmsscl.errors import InputError
from mmsscl.zoo.key_difference import compare_keys, drop_pretrained_init


def evaluate(
    config: str | Path,
    checkpoint: str | Path,
    work_dir: str | None = None,
    output: str | Path | None = None,
    options: dict[str, Any] | None = None,
    launcher: str = "none",
) -> dict[str, float]:
    """Run the test loop of a config with the weights of a checkpoint.

    Args:
        config: A detection or classification config with ``test_dataloader`` and ``test_evaluator``.
        checkpoint: A checkpoint of that config's training.
        work_dir: For logs; else the config's, else ``work_dirs/<name of the config>``.
        output: Where the metrics go as json; else ``metrics.json`` in ``work_dir``.
        options: Dotted keys and values merged into the config.
        launcher: "none", "pytorch", "slurm" or "mpi".

    Returns:
        The metrics by name, for example ``coco/bbox_mAP``.

    Raises:
        InputError: If the config has nothing to evaluate, or the checkpoint is of another architecture or unusable.
    """
    settings = load_config(config, options)
    for key in ("test_dataloader", "test_evaluator", "test_cfg"):
        if settings.get(key) is None:
            raise InputError(
                f"config {config}: has no {key}, so there is nothing to evaluate (pretraining configs have none). "
                "Evaluate a config of configs/transfer/ or configs/classify/."
            )
    settings.work_dir = work_dir or settings.get("work_dir") or str(Path("work_dirs") / Path(config).stem)
    settings.load_from = str(checkpoint)
    settings.resume = False
    drop_pretrained_init(settings._cfg_dict["model"])
    runner = build_runner(settings, launcher)
    require_same_architecture(runner.model, checkpoint)
    with build_errors_explained():
        metrics = {name: float(value) for name, value in runner.test().items()}
    if is_main_process():
        file = Path(output) if output else Path(settings.work_dir) / "metrics.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    leave_process_group()
    return metrics


def require_same_architecture(model: Any, checkpoint: str | Path) -> None:
    """Check that a checkpoint fills a whole model; mmengine only warns and evaluates what is left random.

    Raises:
        InputError: Naming missing, unexpected and mis-shaped keys.
    """
    from mmengine.model import is_model_wrapper

    from mmsscl.zoo.safe_load import is_remote, load_checkpoint, state_dict_of

    if is_remote(str(checkpoint)):
        return
    own = (model.module if is_model_wrapper(model) else model).state_dict()
    state = state_dict_of(load_checkpoint(checkpoint), checkpoint)
    difference = compare_keys(own, state)
    if difference:
        raise InputError(
            f"checkpoint {checkpoint}: is not one of this config's model: {difference.describe()}. "
            "Evaluate with the config it was trained with (it lies beside the checkpoint)."
        )
