"""The version check, on folders of made-up package metadata in a fresh interpreter without site-packages."""
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TORCH = {"torch": "2.11.0", "torchvision": "0.26.0"}
ONEDL = {
    "onedl-mmengine": "0.10.12",
    "onedl-mmcv": "2.3.6",
    "onedl-mmpretrain": "1.3.6",
    "onedl-mmdetection": "3.5.1",
}
OPENMMLAB = {"mmengine": "0.10.7", "mmcv": "2.1.0", "mmpretrain": "1.2.0", "mmdet": "3.3.0"}


def import_with(
    folder: Path, packages: dict[str, str], code: str = "import mmsscl"
) -> subprocess.CompletedProcess[str]:
    """Run code where exactly these distributions are installed."""
    for name, version in packages.items():
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-S", "-W", "error", "-c", code],
        env={"PYTHONPATH": f"{folder}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "packages",
    [
        TORCH | ONEDL,
        TORCH | OPENMMLAB,
        ONEDL | {"torch": "2.11.0+cpu", "torchvision": "0.26.0+cpu"},
        ONEDL | {"torch": "2.12.0.dev20260301+cu130", "torchvision": "0.27.0.dev20260301"},
        ONEDL | {"torch": "2.4", "torchvision": "0.19"},
    ],
    ids=["onedl", "openmmlab", "cpu builds", "nightly", "oldest"],
)
def test_a_sound_environment_is_silent(tmp_path: Path, packages: dict[str, str]) -> None:
    done = import_with(tmp_path / "site", packages)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


BAD = {
    "nothing installed": (
        {},
        ["torch and torchvision missing", "install torch==2.11.0 torchvision==0.26.0", "'mmcv' is missing"],
    ),
    "torchvision missing": (
        ONEDL | {"torch": "2.9.1"},
        ["torchvision missing", "beside torch 2.9.1", "must match", "install torch==2.11.0 torchvision==0.26.0"],
    ),
    "mmpretrain missing beside OpenMMLab's own": (
        TORCH | {name: version for name, version in OPENMMLAB.items() if name != "mmpretrain"},
        ["'mmpretrain' is missing", "Remove what is there and install one whole family", "uninstall -y mmengine"],
    ),
    "mmpretrain missing": (
        TORCH | {name: version for name, version in ONEDL.items() if name != "onedl-mmpretrain"},
        ["'mmpretrain' is missing", "onedl-mmpretrain>=1.3.0"],
    ),
    "both families": (
        TORCH | ONEDL | {"mmcv": "2.1.0"},
        ["onedl-mmcv 2.3.6", "mmcv 2.1.0", "overwrite each other", "uninstall -y", "onedl-mmcv>=2.3.0"],
    ),
    "half of each family": (
        TORCH
        | {"onedl-mmengine": "0.10.12", "onedl-mmcv": "2.3.6"}
        | {"mmpretrain": "1.2.0", "mmdet": "3.3.0"},
        ["two families", "OneDL: onedl-mmengine", "OpenMMLab: mmpretrain", "uninstall -y"],
    ),
    "old mmcv": (
        TORCH | OPENMMLAB | {"mmcv": "1.7.2"},
        ["mmcv 1.7.2", "too old", "mmcv>=2.0.1,<2.2.0", "uninstall -y"],
    ),
    "mmcv that mmdet rejects": (TORCH | OPENMMLAB | {"mmcv": "2.2.0"}, ["mmcv 2.2.0", "too new", "mmcv>=2.0.1,<2.2.0"]),
    "old continuation": (
        TORCH | ONEDL | {"onedl-mmdetection": "3.3.9"},
        ["onedl-mmdetection 3.3.9", "too old", 'install "onedl-mmdetection>=3.4.0,<4.0.0"'],
    ),
    "mmcv-lite": (TORCH | ONEDL | {"mmcv-lite": "2.1.0"}, ["mmcv-lite 2.1.0", "uninstall -y mmcv-lite"]),
    "old torch": (ONEDL | {"torch": "2.1.2", "torchvision": "0.16.2"}, ["torch 2.1.2", "too old", "torch>=2.4.0"]),
    "pair of different releases": (
        ONEDL | {"torch": "2.10.0", "torchvision": "0.26.0"},
        ["torch 2.10.0", "torchvision 0.26.0", "needs torchvision 0.25", "install torch==2.11.0"],
    ),
    "cpu torch, other torchvision": (
        ONEDL | {"torch": "2.11.0+cpu", "torchvision": "0.26.0"},
        ["torch 2.11.0+cpu", "different indexes", "download.pytorch.org/whl/cpu"],
    ),
}


@pytest.mark.parametrize("case", list(BAD))
def test_an_unfit_environment_is_named(tmp_path: Path, case: str) -> None:
    if case.startswith("cpu torch") and sys.platform != "linux":
        pytest.skip("wheels carry +cpu on Linux only")
    packages, parts = BAD[case]
    done = import_with(tmp_path / "site", packages)
    assert done.returncode == 1
    assert done.stderr.rstrip().splitlines()[-1].startswith("- ")  # the last thing the user reads is a remedy
    assert "ImportError: mmsscl cannot run in this environment" in done.stderr
    for part in [*parts, f"{sys.executable} -m pip "]:
        assert part in done.stderr
    for name, version in packages.items():
        if f"{name} {version} (" in done.stderr:
            assert f"{name} {version} ({tmp_path / 'site'}" in done.stderr  # where


def test_a_checkout_on_the_path_counts_as_installed(tmp_path: Path) -> None:
    site = tmp_path / "site"
    for module in ("mmengine", "mmcv", "mmpretrain", "mmdet"):
        (site / module).mkdir(parents=True)
        (site / module / "__init__.py").touch()
    done = import_with(site, TORCH)
    assert (done.returncode, done.stderr) == (0, "")


def test_metadata_torn_by_an_interrupted_pip_counts_as_missing(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "onedl_mmcv-2.3.6.dist-info").mkdir(parents=True)
    done = import_with(site, TORCH | {name: version for name, version in ONEDL.items() if name != "onedl-mmcv"})
    assert done.returncode == 1
    assert "'mmcv' is missing" in done.stderr


def test_mmengine_learns_the_scope_whichever_is_imported_first(tmp_path: Path) -> None:
    utils = tmp_path / "site" / "mmengine" / "config" / "utils.py"
    utils.parent.mkdir(parents=True)
    for package in (utils.parent, utils.parents[1]):
        (package / "__init__.py").touch()
    utils.write_text("MODULE2PACKAGE = {'mmdet': 'mmdet'}\n")
    code = (
        "import {0}, {1}; from mmengine.config import utils; import sys; "
        "assert utils.MODULE2PACKAGE == dict(mmdet='mmdet', mmsscl='mmsscl'), utils.MODULE2PACKAGE; "
        "assert type(utils.__loader__).__name__ == 'SourceFileLoader'"
    )
    done = import_with(tmp_path / "site", TORCH | ONEDL, code.format("mmsscl", "mmengine.config.utils"))
    assert done.returncode == 0, done.stderr
    done = import_with(tmp_path / "site", {}, code.format("mmengine.config.utils", "mmsscl"))
    assert done.returncode == 0, done.stderr
