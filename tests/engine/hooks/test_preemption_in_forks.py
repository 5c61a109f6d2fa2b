"""Processes that a library forks while a run listens to signals."""

import logging
import multiprocessing
import signal
from types import SimpleNamespace

import pytest

from mmsscl.engine.hooks import PreemptionHook, SafeCheckpointHook


@pytest.fixture
def listening(tmp_path):
    hook = PreemptionHook()
    loader = SimpleNamespace(num_workers=0)
    runner = SimpleNamespace(hooks=[SafeCheckpointHook()], train_dataloader=loader, logger=logging.getLogger("test"))
    hook.before_train(runner)
    yield hook
    hook.after_train(runner)


def sleep_for_ever(started):
    started.set()
    while True:
        signal.pause()


def test_forked_process_ends_when_it_is_told_to(listening):
    context = multiprocessing.get_context("fork")
    started = context.Event()
    child = context.Process(target=sleep_for_ever, args=(started,), daemon=True)
    child.start()
    try:
        assert started.wait(20)
        child.terminate()
        child.join(20)
        assert child.exitcode == -signal.SIGTERM
    finally:
        child.kill()
    assert signal.getsignal(signal.SIGTERM) == listening._receive, "the run itself goes on listening"
    assert not listening._told.value
