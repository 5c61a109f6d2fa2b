"""Are the packages mmsscl stands on present, of one family, and new enough?

mmengine, mmcv, mmpretrain and mmdet exist twice under the same import names: OpenMMLab's own packages (which stopped
in 2024) and the OneDL continuation that is developed further. Either family works within its versions; installed
together they overwrite each other's files. Everything here reads package metadata only: nothing heavy is imported.
"""
import re
import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

Version = tuple[int, int, int]


@dataclass(frozen=True)
class Release:
    """A distribution and the versions that serve: ``minimum <= version < below``."""

    name: str
    minimum: Version
    below: Version


@dataclass(frozen=True)
class Module:
    """An import name and the distributions of the two families that provide it."""

    name: str
    onedl: Release
    upstream: Release


MODULES = (
    Module(
        "mmengine", Release("onedl-mmengine", (0, 10, 8), (1, 0, 0)), Release("mmengine", (0, 10, 0), (1, 0, 0))
    ),
    Module("mmcv", Release("onedl-mmcv", (2, 3, 0), (2, 4, 0)), Release("mmcv", (2, 0, 1), (2, 2, 0))),
    Module(
        "mmpretrain", Release("onedl-mmpretrain", (1, 3, 0), (2, 0, 0)), Release("mmpretrain", (1, 0, 0), (2, 0, 0))
    ),
    Module("mmdet", Release("onedl-mmdetection", (3, 4, 0), (4, 0, 0)), Release("mmdet", (3, 0, 0), (4, 0, 0))),
)
# Older names of mmcv: same files, without (lite) or with another generation of (full) the operators.
SUPERSEDED = ("mmcv-lite", "mmcv-full")
TORCH_MINIMUM: Version = (2, 4, 0)
FAMILY = " ".join(f'"{m.onedl.name}>={".".join(map(str, m.onedl.minimum))}"' for m in MODULES)
# Tested together (requirements/torch.txt); any pair torch 2.N, torchvision 0.(N + 15) belongs together.
TORCH_PAIR = "torch==2.11.0 torchvision==0.26.0"


def find_problems() -> list[str]:
    """Look at the metadata of the installed packages.

    Returns:
        One message per problem (what is wrong, where, and the pip command that mends it); empty when all is well.
    """
    return _torch_problems() + _family_problems()


def check_environment() -> None:
    """Raise where a needed package is missing, too old, too new, or mixed with its namesake.

    Runs at ``import mmsscl``; costs milliseconds and prints nothing.

    Raises:
        ImportError: naming every problem and its remedy.
    """
    problems = find_problems()
    if problems:
        raise ImportError("mmsscl cannot run in this environment:\n" + "\n".join(f"- {text}" for text in problems))


def installed_versions() -> dict[str, str]:
    """Versions of numpy and of the packages of ``MODULES``, by the names under which they are installed."""
    names = [*(name for module in MODULES for name in (module.onedl.name, module.upstream.name)), "numpy"]
    return {name: found.version for name in names if (found := _installed(name)) is not None}


def _family_problems() -> list[str]:
    problems = []
    missing = []
    families: dict[str, list[str]] = {"OneDL": [], "OpenMMLab": []}
    for module in MODULES:
        onedl, upstream = _installed(module.onedl.name), _installed(module.upstream.name)
        if onedl is not None and upstream is not None:
            problems.append(
                f"{_describe(onedl)} and {_describe(upstream)} both provide the module {module.name!r} and overwrite "
                f"each other's files. Remove both families and install one: {reinstall_family()}"
            )
            continue
        found, release = (onedl, module.onedl) if onedl is not None else (upstream, module.upstream)
        if found is not None:
            families["OneDL" if found is onedl else "OpenMMLab"].append(_describe(found))
            problems += _version_problems(found, release)
        elif not _importable(module.name):
            missing.append(module.name)
    # beside packages of OpenMMLab's own family, its continuation would overwrite their files
    remedy = (
        f"Remove what is there and install one whole family: {reinstall_family()}"
        if families["OpenMMLab"]
        else f"Install the family it belongs to: {pip()} install {FAMILY}"
    )
    problems += [f"the module {name!r} is missing (searched {sys.prefix}). {remedy}" for name in missing]
    for name in SUPERSEDED:
        old = _installed(name)
        if old is not None:
            problems.append(
                f"{_describe(old)} provides the module 'mmcv' without the operators mmsscl needs. Replace it: "
                f"{pip()} uninstall -y {name} && {pip()} install --force-reinstall --no-deps onedl-mmcv"
            )
    if all(families.values()) and not problems:
        problems.append(
            "packages of two families that were not made for each other: "
            + "; ".join(f"{family}: {', '.join(members)}" for family, members in families.items())
            + f". Remove both and install one: {reinstall_family()}"
        )
    return problems


def _version_problems(found: Distribution, release: Release) -> list[str]:
    version = _parse(found.version)
    if version is None or release.minimum <= version < release.below:
        return []
    wanted = f">={'.'.join(map(str, release.minimum))},<{'.'.join(map(str, release.below))}"
    side = "old" if version < release.minimum else "new"
    command = f'{pip()} install "{release.name}{wanted}"'
    if not release.name.startswith("onedl-"):
        command += f", or, better, move to the family that is developed further: {reinstall_family()}"
    return [f"{_describe(found)} is too {side}: mmsscl needs {release.name}{wanted}. Mend it: {command}"]


def _torch_problems() -> list[str]:
    torch, vision = _installed("torch"), _installed("torchvision")
    missing = [
        name for name, found in (("torch", torch), ("torchvision", vision)) if found is None and not _importable(name)
    ]
    if missing:
        present = [_describe(found) for found in (torch, vision) if found is not None]
        beside = f" beside {present[0]}; the two must match" if present else ""
        return [
            f"{' and '.join(missing)} missing (searched {sys.prefix}){beside}. Install both in one command: "
            f"{pip()} install {TORCH_PAIR}"
        ]
    if torch is None or vision is None:
        return []  # importable without metadata: versions unknown
    torch_version, vision_version = _parse(torch.version), _parse(vision.version)
    if torch_version is None or vision_version is None:
        return []
    remedy = f"Install a pair in one command: {pip()} install {TORCH_PAIR}"
    if torch_version < TORCH_MINIMUM:
        return [f"{_describe(torch)} is too old: mmsscl needs torch>={'.'.join(map(str, TORCH_MINIMUM))}. {remedy}"]
    partner = (0, torch_version[1] + 15)
    if torch_version[0] == 2 and vision_version[:2] != partner:
        return [
            f"{_describe(torch)} and {_describe(vision)} do not belong together: torch 2.{torch_version[1]} needs "
            f"torchvision 0.{partner[1]}. {remedy}"
        ]
    if ("+cpu" in torch.version) != ("+cpu" in vision.version) and sys.platform == "linux":
        return [
            f"{_describe(torch)} and {_describe(vision)} come from different indexes (one is a CPU-only build): "
            f"torchvision's operators will not load. {remedy}, or both with --index-url "
            "https://download.pytorch.org/whl/cpu"
        ]
    return []


def _installed(name: str) -> Distribution | None:
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    # An interrupted pip leaves a folder without metadata: as good as not installed.
    complete = found.read_text("METADATA") is not None or found.read_text("PKG-INFO") is not None
    return found if complete else None


def _importable(module: str) -> bool:
    """True for a package on the path without metadata, as in a source checkout on PYTHONPATH."""
    return module in sys.modules or find_spec(module) is not None


def _describe(found: Distribution) -> str:
    return f"{found.metadata['Name']} {found.version} ({Path(str(found.locate_file(''))).resolve()})"


def _parse(version: str) -> Version | None:
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def pip() -> str:
    """The pip of this Python, as a shell takes it."""
    return f"{sys.executable or 'python'} -m pip"


def reinstall_torch() -> str:
    """The command that puts a matching torch and torchvision in the place of what is there."""
    return f"{pip()} install --force-reinstall {TORCH_PAIR}"


def reinstall_family() -> str:
    """The command that puts one family in the place of whatever is there of both."""
    names = " ".join(name for m in MODULES for name in (m.upstream.name, m.onedl.name))
    return f"{pip()} uninstall -y {names} && {pip()} install {FAMILY}"
