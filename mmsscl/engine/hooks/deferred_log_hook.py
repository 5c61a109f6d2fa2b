"""Log without waiting for the device in every iteration."""
from typing import Any

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.runner import Runner
from torch import Tensor

from mmsscl.registry import HOOKS


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's ``RuntimeInfoHook``, but logged tensors come to the host once a log interval, in one transfer.

    The stock hook reads every value of every iteration with ``.item()``; each read stalls a GPU. This one keeps the
    values on the device until somebody reads them: the iterations in which a ``LoggerHook`` of the runner prints, the
    end of an epoch and of training, the start of a validation, and the saving of a checkpoint. The message hub then
    holds the same values in the same order; between those moments it is behind. Use it in place of the stock hook::

        default_hooks = dict(runtime_info=dict(type="mmsscl.DeferredRuntimeInfoHook"))
    """

    def __init__(self) -> None:
        super().__init__()
        self._intervals: list[int] = []
        self._pending: list[tuple[dict[str, Any], dict[torch.device, tuple[list[str], Tensor]]]] = []

    def before_train(self, runner: Runner) -> None:
        """Also find out when the logger prints."""
        super().before_train(runner)
        self._intervals = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self._pending.clear()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Keep the values; hand them over if the logger is about to read them."""
        if outputs is not None:
            self._keep(outputs)
        if self.end_of_epoch(runner.train_dataloader, batch_idx) or any(
            self.every_n_inner_iters(batch_idx, interval) for interval in self._intervals
        ):
            self.flush(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Hand over before anything reads the epoch's values."""
        self.flush(runner)

    def before_val(self, runner: Runner) -> None:
        """Hand over before anything is read in validation."""
        self.flush(runner)
        super().before_val(runner)

    def after_train(self, runner: Runner) -> None:
        """Hand over what is left."""
        self.flush(runner)
        super().after_train(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Hand over, so that the checkpoint's message hub is complete (the runner copied it a moment before)."""
        if self._pending:
            self.flush(runner)
            checkpoint["message_hub"] = runner.message_hub.state_dict()

    def flush(self, runner: Runner) -> None:
        """Move all kept values to the message hub: one transfer a device."""
        if not self._pending:
            return
        rows: dict[torch.device, list[Tensor]] = {}
        for _, kept in self._pending:
            for device, (_, row) in kept.items():
                rows.setdefault(device, []).append(row)
        numbers = {device: iter(torch.cat(parts).tolist()) for device, parts in rows.items()}
        for values, kept in self._pending:
            for device, (names, _) in kept.items():
                for name in names:
                    values[name] = next(numbers[device])
            for name, value in values.items():
                runner.message_hub.update_scalar(f"train/{name}", value)
        self._pending.clear()

    def _keep(self, outputs: dict[str, Any]) -> None:
        by_device: dict[torch.device, tuple[list[str], list[Tensor]]] = {}
        for name, value in outputs.items():
            if isinstance(value, Tensor):
                names, tensors = by_device.setdefault(value.device, ([], []))
                names.append(name)
                tensors.append(value.detach().reshape(()))
        # Stacking copies: a buffer that the next iteration overwrites (a CUDA graph's) is safe to keep.
        kept = {device: (names, torch.stack(tensors)) for device, (names, tensors) in by_device.items()}
        # Place holders keep the order; the tensors themselves would keep the iteration's graph alive.
        values = {name: None if isinstance(value, Tensor) else value for name, value in outputs.items()}
        self._pending.append((values, kept))
