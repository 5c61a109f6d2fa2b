"""Look at this machine: ``mmsscl doctor``. Runs where ``import mmsscl`` refuses to, and imports what it judges last."""
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from mmsscl.environment import MODULES, find_problems
from mmsscl.version import __version__

PYTHON = ((3, 10), (3, 13))
_OPTIONAL = {
    "tensorboard": "curves in TensorBoard (vis_backends)",
    "safetensors": "mmsscl export to .safetensors",
    "pytest": "the test suite",
}
_LEAST_SHARED_MEMORY = 1e9
_LEAST_DISK = 5e9


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        name: What.
        text: What was found.
        problem: Whether something is wrong with it; ``text`` then says what mends it.
    """

    name: str
    text: str
    problem: bool = False


class MachineReport(NamedTuple):
    """All that was looked at.

    Attributes:
        findings: In the order of the page.
    """

    findings: list[Finding]

    @property
    def problems(self) -> list[Finding]:
        """What is wrong."""
        return [finding for finding in self.findings if finding.problem]

    def text(self) -> str:
        """The page: a line a finding, problems marked, and the sum last."""
        width = max(len(finding.name) for finding in self.findings)
        lines = [f"{'!' if each.problem else ' '} {each.name:{width}s}  {each.text}" for each in self.findings]
        count = len(self.problems)
        lines.append(f"{count} problem{'s' if count > 1 else ''} (marked !)" if count else "all is well")
        return "\n".join(lines)


def examine() -> MachineReport:
    """Look at packages, operators, GPU and disk.

    Example:
        >>> examine().problems
        []
    """
    package = Path(__file__).resolve().parents[1]
    findings = [Finding("mmsscl", f"{__version__} ({package})"), _python()]
    findings += _packages()
    findings += [Finding("packages", text, True) for text in find_problems()]
    findings += _torch()
    findings += _operators()
    findings += _opencv()
    findings += _machine()
    findings += _optional()
    return MachineReport(findings)


def _python() -> Finding:
    text = f"{platform.python_version()} ({sys.executable})"
    if PYTHON[0] <= sys.version_info[:2] < PYTHON[1]:
        return Finding("Python", text)
    return Finding("Python", f"{text}: mmsscl runs on 3.10 to 3.12. Make an environment with one of them.", True)


def _packages() -> Iterator[Finding]:
    names = ["torch", "torchvision", *(name for module in MODULES for name in (module.onedl.name, module.upstream.name))]
    for name in [*names, "numpy", "pycocotools", "scikit-learn"]:
        found = _version(name)
        if found is not None:
            yield Finding(name, found)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("torch", f"cannot be imported: {_first_line(error)}", True)
        return
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(number)
            bfloat16 = "" if properties.major >= 8 else "; no bfloat16: train with --amp fp16"
            yield Finding(f"GPU {number}", f"{properties.name}, {properties.total_memory / 1e9:.0f} GB{bfloat16}")
    elif torch.version.cuda is None:
        yield Finding("GPU", "none that this torch uses: it is a CPU-only build")
    elif shutil.which("nvidia-smi"):
        yield Finding(
            "GPU", f"nvidia-smi is there, but torch (CUDA {torch.version.cuda}) finds none: the driver is too old for it, "
            "or CUDA_VISIBLE_DEVICES hides them. Update the driver, or install the torch of an older CUDA.", True,
        )  # fmt: skip
    else:
        yield Finding("GPU", "none; everything runs on the CPU")
    if torch.distributed.is_available():
        backends = [name for name in ("nccl", "gloo") if getattr(torch.distributed, f"is_{name}_available")()]
        yield Finding("backends", ", ".join(backends))


def _operators() -> Iterator[Finding]:
    try:
        from mmsscl.ops import install_mmcv_ext, mmcv_ext_source

        install_mmcv_ext()
        import mmcv.ops  # noqa: F401  (loads the operators)
        import mmdet.models  # noqa: F401
        import mmpretrain.models  # noqa: F401
    except (ImportError, OSError, AssertionError) as error:
        yield Finding("operators", f"mmcv, mmpretrain or mmdet cannot be imported: {_first_line(error)}", True)
        return
    served = {"compiled": "mmcv's compiled ones", "torchvision": "torchvision's kernels, in place of mmcv's compiled ones"}
    yield Finding("operators", served[mmcv_ext_source()])


def _opencv() -> Iterator[Finding]:
    try:
        import cv2
    except (ImportError, OSError) as error:
        yield Finding(
            "OpenCV", f"cannot be imported: {_first_line(error)}. Without a display take the headless build: "
            f"{sys.executable} -m pip install --force-reinstall --no-deps opencv-python-headless", True,
        )  # fmt: skip
        return
    yield Finding("OpenCV", cv2.__version__)


def _machine() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    yield Finding("machine", f"{platform.machine()}, {cores} cores, {memory:.0f} GB memory, {platform.system()}")
    free = shutil.disk_usage(".").free
    few = free < _LEAST_DISK
    hint = ": a checkpoint of a ResNet-50 takes 0.4 GB. Choose a --work-dir on another disk." if few else ""
    yield Finding("disk here", f"{free / 1e9:.0f} GB free{hint}", few)
    if os.path.isdir("/dev/shm"):
        shared = shutil.disk_usage("/dev/shm").total
        little = shared < _LEAST_SHARED_MEMORY
        why = ": workers hand batches over there, and die of SIGBUS where it is full. In docker: --shm-size=8g."
        hint = why if little else ""
        yield Finding("/dev/shm", f"{shared / 1e9:.1f} GB{hint}", little)


def _optional() -> Iterator[Finding]:
    for name, use in _OPTIONAL.items():
        found = _version(name)
        command = f"{sys.executable} -m pip install {name}"
        yield Finding(name, found if found is not None else f"absent; only for {use}: {command}")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
