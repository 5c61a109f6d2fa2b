"""Hooks that make trouble for the tests of what a run survives."""
import random
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook

import mmsscl.atomic_file
from mmsscl.engine.hooks import SafeCheckpointHook
from mmsscl.registry import HOOKS
from mmsscl.saliency.store import SaliencyStore

# moment: the owner of the function, and the function before whose work it lies
MOMENTS = {
    "before the new file has its name": (mmsscl.atomic_file.os, "replace"),
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
        original, count = getattr(owner, name), 0

        def paused(*args, **kwargs):
            nonlocal count
            count += 1
            if count == after:
                Path(sign).touch()
                time.sleep(30)
            return original(*args, **kwargs)

        setattr(owner, name, paused)


@HOOKS.register_module()
class PoisonHook(Hook):
    """Spoil the views (NaN) or a gradient (infinity) in some iterations (from 1) of one rank; keep the states around."""

    # after the hook under test has made its copies: the mean is a buffer too
    priority = "LOWEST"

    def __init__(self, iterations, what="views", rank=0):
        self.iterations, self.what, self.rank = iterations, what, rank
        self.before, self.after = {}, {}
        self.handle = None

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 not in self.iterations:
            return
        self.before[runner.iter + 1] = states(runner)
        if get_rank() != self.rank:
            return
        model = unwrapped(runner)
        if self.what == "views":
            self.mean = model.data_preprocessor.mean.clone()
            model.data_preprocessor.mean.fill_(float("nan"))
        else:
            self.handle = next(model.parameters()).register_hook(lambda gradient: gradient * float("inf"))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 not in self.iterations:
            return
        if get_rank() == self.rank:
            if self.what == "views":
                unwrapped(runner).data_preprocessor.mean.copy_(self.mean)
            else:
                self.handle.remove()
        self.after[runner.iter + 1] = states(runner)


def unwrapped(runner):
    return getattr(runner.model, "module", runner.model)


def states(runner):
    """All that a step may change."""
    kept = {name: value.clone() for name, value in unwrapped(runner).state_dict().items()}
    for number, state in runner.optim_wrapper.optimizer.state_dict()["state"].items():
        kept |= {f"optimizer.{number}.{name}": value.clone() for name, value in state.items()}
    return kept
