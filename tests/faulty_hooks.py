"""Hooks that make trouble for the tests of what a run survives."""
import random
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.hooks import Hook

from mmsscl.engine.hooks import SafeCheckpointHook
from mmsscl.registry import HOOKS
from mmsscl.saliency.store import SaliencyStore

# moment: the class and the method before whose work it lies
MOMENTS = {
    "before the new file has its name": ("mmsscl.atomic_file.os", "replace"),
    "before last_checkpoint names it": (SafeCheckpointHook, "_point_to"),
    "before the oldest is deleted": (SafeCheckpointHook, "_delete"),
    "before the refreshed maps are sealed": (SaliencyStore, "commit"),
}


@HOOKS.register_module()
class NoisyWeightHook(Hook):
    """Make training depend on every global generator, as dropout or random depth do."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        noise = random.random() + np.random.random() + torch.rand(())
        with torch.no_grad():
            next(runner.model.parameters())[0, 0, 0, 0] += 0.01 * noise


@HOOKS.register_module()
class PauseHook(Hook):
    """Stop for a while at one of ``MOMENTS``, from the ``after``-th time on, with a file as the sign."""

    def __init__(self, moment: str, sign: str, after: int = 2):
        owner, name = MOMENTS[moment]
        if isinstance(owner, str):
            import mmsscl.atomic_file

            owner = mmsscl.atomic_file.os
        original, count = getattr(owner, name), 0

        def paused(*args, **kwargs):
            nonlocal count
            count += 1
            if count == after:
                Path(sign).touch()
                time.sleep(30)
            return original(*args, **kwargs)

        setattr(owner, name, paused)
