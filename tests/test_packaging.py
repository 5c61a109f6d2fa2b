"""What is installed: every module, the configs, the pins that were tested."""
import ast
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import mmsscl
from mmsscl.environment import MODULES

ROOT = Path(__file__).resolve().parents[1]


def pins() -> dict[str, Requirement]:
    """The pins that hold for the running Python, by name."""
    lines = [line for path in (ROOT / "requirements").glob("*.txt") for line in path.read_text().splitlines()]
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {each.name: each for each in requirements if each.marker is None or each.marker.evaluate()}


def stated_ranges() -> dict[str, Requirement]:
    """The ranges in setup.py, read without running it."""
    call = next(
        node.value
        for node in ast.parse((ROOT / "setup.py").read_text()).body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    )
    arguments = {keyword.arg: keyword.value for keyword in call.keywords}
    extras = ast.literal_eval(arguments["extras_require"])
    listed = ast.literal_eval(arguments["install_requires"]) + [line for group in extras.values() for line in group]
    return {each.name: each for each in map(Requirement, listed)}


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "mmsscl").rglob("*.py") if ".mim" not in path.parts}
    assert folders
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").is_file()]


def test_pins_are_exact_and_within_the_stated_ranges() -> None:
    ranges = stated_ranges()
    pinned = pins()
    for name, requirement in pinned.items():
        version = re.fullmatch(r"==([\w.]+)", str(requirement.specifier))
        assert version, f"{requirement}: pin it with =="
        if name in ranges:
            assert ranges[name].specifier.contains(version[1]), f"{requirement} lies outside setup.py's {ranges[name]}"
    assert set(ranges) - set(pinned) == {module.upstream.name for module in MODULES}


def test_the_version_check_agrees_with_setup_py() -> None:
    ranges = stated_ranges()
    for module in MODULES:
        for release in (module.onedl, module.upstream):
            specifier = ranges[release.name].specifier
            assert specifier.contains(".".join(map(str, release.minimum)))
            assert not specifier.contains(".".join(map(str, release.below)))
            major, minor, patch = release.minimum
            below = (major, minor, patch - 1) if patch else (major, minor - 1, 99) if minor else (major - 1, 99, 99)
            assert not specifier.contains(".".join(map(str, below)))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from a copy of the checkout (the build leaves files beside the sources)."""
    pytest.importorskip("wheel", reason="needs requirements/build.txt")
    copy = tmp_path_factory.mktemp("checkout") / "mmsscl"
    ignore = shutil.ignore_patterns(".*", "__pycache__", "work_dirs", "build", "dist", "data", "*.egg-info", "*.pth")
    shutil.copytree(ROOT, copy, ignore=ignore)
    target = tmp_path_factory.mktemp("wheel")
    command = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(target), str(copy)]
    subprocess.run([sys.executable, "-m", *command], check=True, timeout=300)
    (built,) = target.glob("*.whl")
    assert built.name == f"mmsscl-{mmsscl.__version__}-py3-none-any.whl"
    return zipfile.ZipFile(built)


def test_wheel_carries_modules_and_configs(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    sources = [path.relative_to(ROOT) for path in (ROOT / "mmsscl").rglob("*.py")]
    modules = {str(path) for path in sources if ".mim" not in path.parts}
    assert modules <= names
    for ending in ("*.py", "metafile.yml"):
        carried = {f"mmsscl/.mim/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob(ending)}
        assert carried
        assert carried <= names
    assert {"mmsscl/.mim/model-index.yml", "mmsscl/.mim/tools/train.py"} <= names
    assert {"mmsscl/visualization/report/page.css", "mmsscl/visualization/report/page.js"} <= names
    assert not [name for name in names if name.startswith(("tests", "configs", "tools")) or "__pycache__" in name]
    (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
    assert "mmsscl = mmsscl.cli:main" in wheel.read(entry_points).decode()


def test_the_zoo_is_read_from_an_installed_wheel(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    code = "from mmsscl.zoo.catalogue import all_entries\nfor e in all_entries(print).values(): print(e.place, e.name)"
    environment = {"PYTHONPATH": str(tmp_path / "site"), "MMSSCL_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path}/site/mmsscl/.mim/configs/scrl/metafile.yml scrl_r18_toy" in done.stdout


def test_configs_resolve_from_an_installed_wheel(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    (tmp_path / "mine.py").write_text("_base_ = ['mmsscl::_base_/default_runtime.py']\nwork_dir = 'here'\n")
    code = (
        "import mmsscl; from mmengine.config import Config; config = Config.fromfile('mine.py'); "
        "print(mmsscl.__file__); assert config.work_dir == 'here' and len(config) > 3, config"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "site") in done.stdout
