"""Settings of the whole suite."""
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

import mmsscl  # noqa: F401  (before any test module imports mmdet: it serves mmcv's compiled operators)


@pytest.fixture(autouse=True, scope="module")
def no_default_scope_before_a_module() -> Iterator[None]:
    """A scope that a runner, or a fixture with mmdet's modules, leaves must not decide what other modules build."""
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture(autouse=True)
def default_scope_as_before() -> Iterator[None]:
    """The same between tests of one module, whose fixtures' scope stays."""
    before = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)


@pytest.fixture(autouse=True)
def loggers_of_its_own() -> None:
    """Runs are named by the second: the logger of another test's run would write to where that test's output went."""
    MMLogger._instance_dict.clear()
    # a test that says there is a GPU must not be the first to ask for one: it would look for the GPU's number
    MMLogger.get_current_instance()


class Exported(NamedTuple):
    """A checkpoint of training, and what ``mmsscl export`` makes of its two branches; nobody may write to these files."""

    checkpoint: Path
    online: Path
    target: Path


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Made once: exporting builds a network twice."""
    from mmsscl.zoo.export import export_backbone
    from tests.sample_runs import write_checkpoint

    folder = tmp_path_factory.mktemp("exported")
    files = Exported(write_checkpoint(folder / "epoch_1.pth"), folder / "online.pth", folder / "target.pth")
    for branch in ("online", "target"):
        export_backbone(files.checkpoint, folder / f"{branch}.pth", branch)
    return files


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For networks so small that handing out their work takes longer than doing it; sums then have one order, too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def small_disk(tmp_path):
    """A function that makes, or enlarges, a disk of so many bytes; returns where it is."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = False

    def resize(size):
        nonlocal mounted
        options = f"{'remount,' if mounted else ''}size={size}"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"may not mount a small disk here: {done.stderr.strip()}")
        mounted = True
        return folder

    yield resize
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)
