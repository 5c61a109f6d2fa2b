"""Skip the steps whose loss or gradient is not a number, and stop where they come one after the other."""
import math
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import Runner
from torch import Tensor

from mmsscl.errors import InputError
from mmsscl.registry import HOOKS

_MOST_NAMED = 16


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Keep NaN and infinity out of the weights.

    Before each optimizer step the loss and the norms of all gradients are looked at (a norm above float32's range, 3e38,
    counts as infinite); the processes agree by a reduction. Where one of them is not finite, none takes the step: weights,
    momentum, target network and its schedule stay, and buffers (the statistics of norms, queues) are put back to what they
    were before the step's forward passes. The error names the iteration, the losses, and the photos of the processes whose
    loss was not finite. The ``patience``-th such step in a row stops the run: the newest checkpoint is from before, and
    good.

    The decision needs the device's answer once an optimizer step. Under gradient accumulation the whole step is dropped.
    Under fp16 the scaler of ``AmpOptimWrapper`` judges the gradients, which overflow now and then by design; here the loss
    alone is looked at.

    Logged: ``skipped_steps``, in all so far, from the first on.

    Args:
        patience: Steps in a row that may not be finite, from 1; with the last of them the run stops.

    Raises:
        InputError: ``patience`` below 1; an ``optim_wrapper`` of several optimizers; in training: that many steps in a row.

    Example:
        >>> default_hooks = dict(non_finite=dict(type="NonFiniteHook", patience=3))
    """

    # before the hooks that log and save
    priority = "VERY_HIGH"
    CHECKPOINT_KEY = "skipped_steps"

    def __init__(self, patience: int = 3) -> None:
        if not isinstance(patience, int) or isinstance(patience, bool) or patience < 1:
            raise InputError(f"NonFiniteHook: patience={patience!r} must be a whole number of steps from 1.")
        self.patience = patience
        self.skipped = 0
        self.in_a_row = 0
        self._wrapper: OptimWrapper | None = None
        # buffers of one type, for one launch, and their copies
        self._copies: list[tuple[list[Tensor], list[Tensor]]] = []
        self._loss: Tensor | None = None
        self._stepped = self._dropped = False
        self._seen: list[Any] = []

    def before_train(self, runner: Runner) -> None:
        """Stand before the optimizer's step."""
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper):
            raise InputError(
                f"NonFiniteHook: needs one optimizer, but optim_wrapper is {type(wrapper).__name__}. Switch the hook off "
                "(default_hooks.non_finite=None)."
            )
        if runner.iter == 0:
            self.skipped = 0
        self.in_a_row, self._seen, self._loss = 0, [], None
        alike: dict[torch.dtype, list[Tensor]] = {}
        for buffer in runner.model.buffers():
            alike.setdefault(buffer.dtype, []).append(buffer)
        self._copies = [(buffers, [torch.empty_like(buffer) for buffer in buffers]) for buffers in alike.values()]
        self._wrapper = wrapper
        backward, step = wrapper.backward, wrapper.step

        def remember_and_backward(loss: Tensor, **kwargs: Any) -> None:
            value = loss.detach().float()
            self._loss = value if self._loss is None else self._loss + value
            backward(loss, **kwargs)

        def step_where_finite(**kwargs: Any) -> None:
            self._stepped, self._dropped = True, self._is_bad(wrapper)
            if self._dropped:
                self._put_back(runner.model)
            else:
                step(**kwargs)

        # on the instance: update_params calls them by its attributes
        wrapper.backward = remember_and_backward
        wrapper.step = step_where_finite

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Copy the buffers before the first forward pass of an optimizer step."""
        if self._loss is None:
            for buffers, copies in self._copies:
                torch._foreach_copy_(copies, buffers)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Say what was skipped."""
        self._seen.append(_indices(data_batch))
        if not self._stepped:
            return
        self._stepped = False
        loss, self._loss = self._loss, None
        seen, self._seen = self._seen, []
        if not self._dropped:
            self.in_a_row = 0
            return
        self._dropped = False
        self.skipped += 1
        self.in_a_row += 1
        runner.message_hub.update_scalar("train/skipped_steps", self.skipped)
        self._report(runner, float("nan") if loss is None else float(loss), seen)

    def after_train(self, runner: Runner) -> None:
        """Leave the optimizer alone."""
        if self._wrapper is not None:
            for name in ("backward", "step"):
                self._wrapper.__dict__.pop(name, None)
        if self.skipped:
            runner.logger.warning(f"{self.skipped} optimizer steps were skipped because they were not finite.")

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Keep the count."""
        checkpoint[self.CHECKPOINT_KEY] = self.skipped

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Take it up."""
        self.skipped = int(checkpoint.get(self.CHECKPOINT_KEY, 0))

    def _is_bad(self, wrapper: OptimWrapper) -> bool:
        """Whether this step is not finite on any process; asks the device once."""
        assert self._loss is not None
        bad = ~torch.isfinite(self._loss)
        if not isinstance(wrapper, AmpOptimWrapper):
            gradients = [p.grad for group in wrapper.param_groups for p in group["params"] if p.grad is not None]
            if gradients:
                bad = bad | ~torch.isfinite(torch.stack(torch._foreach_norm(gradients))).all()
        flag = bad.to(torch.int32).reshape(1)
        all_reduce(flag, op="max")
        return bool(flag)

    def _put_back(self, model: torch.nn.Module) -> None:
        with torch.no_grad():
            for buffers, copies in self._copies:
                torch._foreach_copy_(buffers, copies)
        for module in model.modules():
            changed = getattr(module, "buffers_changed", None)
            if callable(changed):
                changed()

    def _report(self, runner: Runner, loss: float, seen: Sequence[Any]) -> None:
        own = (loss, [] if math.isfinite(loss) else _names(runner, seen))
        gathered: list[tuple[float, list[str]]] = all_gather_object(own)
        losses = ", ".join(f"{value:g}" for value, _ in gathered)
        names = [name for _, names in gathered for name in names]
        photos = f" Its photos: {', '.join(names[:_MOST_NAMED])}" if names else ""
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        what = "gradient" if all(math.isfinite(value) for value, _ in gathered) else "loss"
        text = f"iteration {runner.iter + 1}: {what} is not finite (loss {losses}); the step is skipped.{photos}{more}"
        runner.logger.error(f"{text} ({self.in_a_row} in a row, {self.skipped} in all)")
        if self.in_a_row >= self.patience:
            last = runner.message_hub.runtime_info.get("last_ckpt")
            newest = f"The newest checkpoint, {last}, is good." if last else "No checkpoint has been saved yet."
            raise InputError(
                f"{self.in_a_row} optimizer steps in a row are not finite, the last in iteration {runner.iter + 1}. "
                f"{newest} Go on from it with a lower learning rate, a longer warm-up or optim_wrapper.clip_grad; under "
                "fp16 try bf16; look at the photos named above."
            )


def _indices(data_batch: Any) -> Any:
    pairs = data_batch.get("pairs") if isinstance(data_batch, dict) else None
    return pairs.get("index") if isinstance(pairs, dict) else None


def _names(runner: Runner, seen: Sequence[Any]) -> list[str]:
    dataset = runner.train_dataloader.dataset
    if not hasattr(dataset, "path"):
        return []
    return [dataset.path(int(index)) for part in seen if part is not None for index in part]
