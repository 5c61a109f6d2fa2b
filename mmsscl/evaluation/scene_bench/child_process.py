"""A command in a process of its own that is told to stop when this one is."""
import signal
import subprocess
from collections.abc import Mapping, Sequence
from types import FrameType


def run_child(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command and wait for its end.

    SIGTERM, SIGUSR1 and Ctrl-C to this process reach the command as SIGTERM, so that a training saves before it leaves
    (``PreemptionHook``); the command itself hears no Ctrl-C. A second Ctrl-C ends it at once. It inherits the descriptors
    that are marked inheritable: a file that is locked here stays locked until the command has ended too, should this
    process be killed.

    To be called in the main thread, which alone hears signals.

    Args:
        command: Program and arguments.
        environment: All its variables.

    Returns:
        Its exit status; minus the signal's number if a signal ended it. ``-SIGTERM`` too where this process was told to
        stop and the command came to its end all the same, or had to be killed.
    """
    told: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, frame: FrameType | None) -> None:
        told.append(number)
        if child is None:
            return
        if told.count(signal.SIGINT) > 1:
            child.kill()
        else:
            child.terminate()

    former = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGUSR1)}
    # a process starts with what is ignored in its parent: Ctrl-C in a terminal goes to both
    former[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = subprocess.Popen(command, env=dict(environment), close_fds=False)
        signal.signal(signal.SIGINT, pass_on)
        if told:
            child.terminate()
        status = child.wait()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    return -signal.SIGTERM if told and status in (0, -signal.SIGKILL) else status
