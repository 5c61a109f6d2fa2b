"""Look at this machine: ``mmsscl doctor``. Runs where ``import mmsscl`` refuses to, and imports what it judges last."""
import importlib
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from mmsscl.environment import MODULES, find_problems, pip, reinstall_family, reinstall_torch
from mmsscl.version import __version__

# an older one than 3.10 cannot run this file
_PYTHON_BELOW = (3, 13)
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
    findings += _family()
    broken = list(_broken())
    findings += broken
    findings += _torch() if "torch" not in [each.name for each in broken] else []
    findings += _operators() if not broken else []
    findings += _machine()
    findings += _optional()
    return MachineReport(findings)


def _python() -> Finding:
    text = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info[:2] < _PYTHON_BELOW:
        return Finding("Python", text)
    remedy = "Make an environment with one of them: python3.12 -m venv mmsscl"
    return Finding("Python", f"{text}: mmsscl runs on 3.10 to 3.12. {remedy}", True)


def _packages() -> Iterator[Finding]:
    names = ["torch", "torchvision", *(name for module in MODULES for name in (module.onedl.name, module.upstream.name))]
    for name in [*names, "numpy", "opencv-python", "opencv-python-headless", "pycocotools", "scikit-learn"]:
        found = _version(name)
        if found is not None:
            yield Finding(name, found)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _family() -> Iterator[Finding]:
    sides = {"OneDL": [module.onedl.name for module in MODULES], "OpenMMLab": [module.upstream.name for module in MODULES]}
    for family, names in sides.items():
        found = [name for name in names if _version(name) is not None]
        if found:
            yield Finding("family", f"{family} ({'all four' if len(found) == len(names) else ', '.join(found)})")


def _broken() -> Iterator[Finding]:
    """What mmcv, mmpretrain and mmdet import, each with what mends it alone."""
    headless = f"{pip()} install --force-reinstall --no-deps opencv-python-headless"
    remedies = {
        "torch": ("torch", reinstall_torch()),
        "torchvision": ("torchvision", reinstall_torch()),
        "OpenCV": ("cv2", f"Without a display take the headless build: {headless}"),
        "pycocotools": ("pycocotools.mask", f"{pip()} install --force-reinstall --no-cache-dir pycocotools"),
    }
    for name, (module, remedy) in remedies.items():
        fault = _import_fault(module)
        if fault is not None:
            yield Finding(name, f"cannot be imported: {fault}. Mend it: {remedy}", True)


def _import_fault(module: str) -> str | None:
    try:
        importlib.import_module(module)
    # what is broken fails as it likes: an operator that is not there, an array of another size, a name that numpy has lost
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {_first_line(error)}"
    return None


def _torch() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(number)
            bfloat16 = "" if properties.major >= 8 else "; no bfloat16: train with --amp fp16"
            yield Finding(f"GPU {number}", f"{properties.name}, {properties.total_memory / 1e9:.0f} GB{bfloat16}")
    elif shutil.which("nvidia-smi") and torch.version.cuda is None:
        text = f"nvidia-smi is there, but this torch is a CPU-only build. Install the one for GPUs: {reinstall_torch()}"
        yield Finding("GPU", text, True)
    elif shutil.which("nvidia-smi"):
        yield Finding(
            "GPU", f"nvidia-smi is there, but torch (CUDA {torch.version.cuda}) finds none: the driver is too old for it, "
            "or CUDA_VISIBLE_DEVICES hides them. Run `unset CUDA_VISIBLE_DEVICES`; update the driver, or take the torch of "
            f"an older CUDA: {reinstall_torch()} --index-url (pytorch.org names one for each CUDA)", True,
        )  # fmt: skip
    elif torch.version.cuda is None:
        yield Finding("GPU", "none that this torch uses: it is a CPU-only build")
    else:
        yield Finding("GPU", "none; everything runs on the CPU")
    if torch.distributed.is_available():
        backends = [name for name in ("nccl", "gloo") if getattr(torch.distributed, f"is_{name}_available")()]
        yield Finding("backends", ", ".join(backends))


def _operators() -> Iterator[Finding]:
    from mmsscl.ops import install_mmcv_ext, mmcv_ext_source

    install_mmcv_ext()
    for module in ("mmcv.ops", "mmdet.models", "mmpretrain.models"):
        fault = _import_fault(module)
        if fault is not None:
            text = f"{module} cannot be imported: {fault}. Install one whole family: {reinstall_family()}"
            yield Finding("operators", text, True)
            return
    served = {"compiled": "mmcv's compiled ones", "torchvision": "torchvision's kernels, in place of mmcv's compiled ones"}
    yield Finding("operators", served[mmcv_ext_source()])

def _machine() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    yield Finding("machine", f"{platform.machine()}, {cores} cores, {memory:.0f} GB memory, {platform.system()}")
    free = shutil.disk_usage(".").free
    few = free < _LEAST_DISK
    why = ": a checkpoint of a ResNet-50 takes 0.4 GB. Choose another disk: mmsscl train CONFIG --work-dir FOLDER"
    hint = why if few else ""
    yield Finding("disk here", f"{free / 1e9:.0f} GB free{hint}", few)
    if os.path.isdir("/dev/shm"):
        shared = shutil.disk_usage("/dev/shm").total
        little = shared < _LEAST_SHARED_MEMORY
        why = ": workers hand batches over there, and die of SIGBUS where it is full. In docker: docker run --shm-size=8g"
        hint = why if little else ""
        yield Finding("/dev/shm", f"{shared / 1e9:.1f} GB{hint}", little)


def _optional() -> Iterator[Finding]:
    for name, use in _OPTIONAL.items():
        found = _version(name)
        command = f"{pip()} install {name}"
        yield Finding(name, found if found is not None else f"absent; only for {use}: {command}")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "no reason given")
