"""Move the target network after each optimizer step."""
import math
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch.utils.hooks import RemovableHandle

from mmsscl.errors import InputError
from mmsscl.models.layers import cosine_momentum
from mmsscl.registry import HOOKS


@HOOKS.register_module()
class MomentumUpdateHook(Hook):
    """Call ``model.update_target(momentum)`` after every optimizer step that really happened.

    It hangs on the torch optimizer itself: an iteration that only accumulates gradients, or whose step a loss scaler
    skips, moves nothing. (A *fused* optimizer under a loss scaler decides inside its kernel; such a skipped step is
    counted.) The momentum goes from ``momentum`` to ``final_momentum`` along half a cosine over all optimizer steps of
    the run, ``ceil(max_iters / accumulative_counts)``. The number of steps taken travels in the checkpoint and is
    taken up on resuming. Logged as ``momentum_target``.

    Args:
        momentum: At the first step, in [0, 1]. SCRL: .996 (1000 epochs), .97 (200 epochs), at batch 8192.
        final_momentum: At the end, in [0, 1].

    Raises:
        InputError: A momentum outside [0, 1]; before training: a model without a target, or several optimizers.
    """

    CHECKPOINT_KEY = "momentum_update"

    def __init__(self, momentum: float = 0.996, final_momentum: float = 1.0) -> None:
        cosine_momentum(0, 1, momentum, final_momentum)
        self.momentum = momentum
        self.final_momentum = final_momentum
        self.steps = 0
        self.total_steps = 0
        self._loaded_steps: int | None = None
        self._handle: RemovableHandle | None = None

    def before_train(self, runner: Runner) -> None:
        """Attach to the optimizer; take up the count when the run was resumed."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not hasattr(model, "update_target"):
            raise InputError(
                f"MomentumUpdateHook: the model {type(model).__name__} has no target network (no update_target()). "
                "Remove the hook from custom_hooks, or use SCRL or BYOL."
            )
        if not isinstance(runner.optim_wrapper, OptimWrapper):
            raise InputError(
                f"MomentumUpdateHook: needs one optimizer, but optim_wrapper is {type(runner.optim_wrapper).__name__}."
            )
        accumulation = runner.optim_wrapper._accumulative_counts
        self.total_steps = math.ceil(runner.max_iters / accumulation)
        # Checkpoints are also loaded to start a new run (load_from); only a resumed run is past its first iteration.
        if runner.iter == 0:
            self.steps = 0
        elif self._loaded_steps is not None:
            self.steps = self._loaded_steps
        else:
            self.steps = runner.iter // accumulation

        def move_target(*_: Any) -> None:
            # Steps beyond the schedule happen when a run is resumed with a smaller max_iters.
            step = min(self.steps, self.total_steps)
            momentum = cosine_momentum(step, self.total_steps, self.momentum, self.final_momentum)
            model.update_target(momentum)
            self.steps += 1
            runner.message_hub.update_scalar("train/momentum_target", momentum)

        self._detach()
        self._handle = runner.optim_wrapper.optimizer.register_step_post_hook(move_target)

    def after_train(self, runner: Runner) -> None:
        """Let go of the optimizer."""
        self._detach()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put the number of steps taken into the checkpoint."""
        checkpoint[self.CHECKPOINT_KEY] = {"steps": self.steps}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Remember the checkpoint's number of steps, for :meth:`before_train`."""
        self._loaded_steps = checkpoint.get(self.CHECKPOINT_KEY, {}).get("steps")

    def _detach(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
