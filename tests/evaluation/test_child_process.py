import os
import signal
import sys
import threading
import time

import pytest

from mmsscl.evaluation.scene_bench.child_process import run_child

READY = "import pathlib, signal, sys, time; file = pathlib.Path(sys.argv[1])"
SAVES = "signal.signal(signal.SIGTERM, lambda *_: (file.write_text('saved'), sys.exit(75)))"
ENDS_WELL = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
WAIT = "file.write_text('ready'); [time.sleep(.01) for _ in range(3000)]; sys.exit('nobody came')"


def run(tmp_path, *lines, signals=()):
    """The status of a program of these lines that, once it waits, and this process are sent signals."""
    file = tmp_path / "file"

    def send():
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if file.exists() and file.read_text() == "ready":
                for number in signals:
                    os.kill(os.getpid(), number)
                    time.sleep(0.1)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=send, daemon=True)
    if signals:
        thread.start()
    status = run_child([sys.executable, "-c", "\n".join([READY, *lines]), str(file)], os.environ)
    if signals:
        thread.join()
    return status, file.read_text() if file.exists() else None


@pytest.mark.parametrize(("line", "status"), [("sys.exit(0)", 0), ("sys.exit(3)", 3), ("signal.raise_signal(9)", -9)])
def test_the_status_is_the_commands(tmp_path, line, status):
    assert run(tmp_path, line) == (status, None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_reaches_the_command_which_saves(tmp_path, number):
    before = [signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)]
    assert run(tmp_path, SAVES, WAIT, signals=[number]) == (75, "saved")
    assert [signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)] == before


@pytest.mark.parametrize(("line", "signals", "status"), [
    ("pass", [signal.SIGTERM], -15), (ENDS_WELL, [signal.SIGTERM], -15), (DEAF, [signal.SIGINT, signal.SIGINT], -15),
])  # fmt: skip
def test_it_counts_as_told_to_stop_whatever_the_command_does(tmp_path, line, signals, status):
    assert run(tmp_path, line, WAIT, signals=signals)[0] == status


def test_ctrl_c_does_not_end_a_command_that_saves(tmp_path):
    # a terminal sends it to the command as well
    assert run(tmp_path, "signal.raise_signal(signal.SIGINT)", SAVES, WAIT, signals=[signal.SIGINT]) == (75, "saved")


def test_it_inherits_only_what_is_marked(tmp_path):
    file = tmp_path / "file"
    with file.open("w") as marked, (tmp_path / "other").open("w") as other:
        os.set_inheritable(marked.fileno(), True)
        write = "import os, sys; os.write(int(sys.argv[1]), b'x')"
        status = [run_child([sys.executable, "-c", write, str(each.fileno())], os.environ) for each in (marked, other)]
    assert status == [0, 1]
    assert file.read_text() == "x"
