"""tools/env.sh in a made-up checkout, with a stand-in interpreter whose pip only writes package metadata."""
import inspect
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    "onedl-mmengine": "mmengine", "onedl-mmcv": "mmcv", "onedl-mmpretrain": "mmpretrain", "onedl-mmdetection": "mmdet",
    "opencv-python": "cv2", "mmengine": "mmengine", "mmcv": "mmcv", "mmdet": "mmdet", "mmpretrain": "mmpretrain",
}
OPENMMLAB = {"mmengine": "0.10.7", "mmcv": "2.1.0", "mmpretrain": "1.2.0", "mmdet": "3.3.0"}
TORCH = {"torch": "2.11.0", "torchvision": "0.26.0"}
# The interpreter under test sees the packages of its own environment only; venv and pip go to the stand-ins.
PYTHON = """#!/bin/sh
here=$(dirname "$(dirname "$0")")
echo "$*" >> "{log}"
if [ "$1 $2" = "-m venv" ]; then
    mkdir -p "$3/bin" "$3/site" && cp "$0" "$3/bin/python" && touch "$3/has_pip" && exit 0
fi
if [ "$1 $2" = "-m ensurepip" ]; then touch "$here/has_pip"; exit 0; fi
if [ "$1 $2" = "-m pip" ]; then
    test -e "$here/has_pip" || exit 1
    shift 2
    exec "{real}" -S "{pip}" "$here/site" "$@"
fi
PYTHONPATH="$here/site" exec "{real}" -S "$@"
"""
PIP = '''
import pathlib, re, shutil, sys
from pathlib import Path
MODULES = {modules}
{write_package}
site, verb, *arguments = sys.argv[1:]
held, wanted = {{}}, []
pins = re.compile(r"^([\\w.-]+)(?:==([\\w.+*-]+))?", re.M)
while verb == "install" and arguments:
    argument = arguments.pop(0)
    if argument in ("-r", "--constraint"):
        found = pins.findall(pathlib.Path(arguments.pop(0)).read_text())
        held.update(found) if argument == "--constraint" else wanted.extend(found)
    elif argument in ("--editable", "--progress-bar", "--extra-index-url"):
        arguments.pop(0)
    elif not argument.startswith("-"):
        wanted += pins.findall(argument)
for name, version in wanted:
    if name == "numpy" and held.get("scipy") == "0.1" and version:
        sys.exit("ResolutionImpossible")
    write_package(pathlib.Path(site), name, version.replace("*", "0") or "9.9.9")
'''


def write_package(site: Path, name: str, version: str) -> None:
    """Write what importlib.metadata and find_spec look for."""
    for old in site.glob(f"{name.replace('-', '_')}-[0-9]*.dist-info"):
        shutil.rmtree(old)
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if name in MODULES:
        (site / f"{MODULES[name]}.py").touch()


@dataclass
class Checkout:
    """A small copy of the checkout and a log of every call to a stand-in interpreter."""

    root: Path
    log: Path
    base: Path

    def make_environment(self, name: str, packages: dict[str, str], pip: bool = True) -> Path:
        folder = self.root.parent / name
        (folder / "bin").mkdir(parents=True)
        shutil.copy(self.base, folder / "bin" / "python")
        (folder / "site").mkdir()
        for distribution, version in packages.items():
            write_package(folder / "site", distribution, version)
        if pip:
            (folder / "has_pip").touch()
        return folder

    def run(self, command: str = "", **variables: object) -> subprocess.CompletedProcess[str]:
        """Run env.sh, or a bash command, from another folder, with no environment active unless one is given."""
        self.log.write_text("")
        environment = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG")}
        environment |= {"HOME": str(self.root.parent), "TMPDIR": str(self.root.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        environment |= {"MMSSCL_PYTHON": str(self.base)}
        environment |= {name: str(value) for name, value in variables.items()}
        arguments = ["-c", command] if command else [str(self.root / "tools" / "env.sh")]
        return subprocess.run(
            ["bash", *arguments], env=environment, cwd="/", capture_output=True, text=True, timeout=120
        )

    def installs(self) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if line.startswith("-m pip install")]


def installed(folder: Path) -> dict[str, str]:
    stems = (info.name.removesuffix(".dist-info").rsplit("-", 1) for info in (folder / "site").glob("*.dist-info"))
    return {name.replace("_", "-"): version for name, version in stems}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "a check out"
    (root / "tools").mkdir(parents=True)
    (root / "mmsscl").mkdir()
    shutil.copy(ROOT / "tools" / "env.sh", root / "tools")
    shutil.copytree(ROOT / "requirements", root / "requirements")
    shutil.copy(ROOT / "mmsscl" / "environment.py", root / "mmsscl")
    (root / "mmsscl" / "__init__.py").write_text("from .environment import check_environment\n\ncheck_environment()\n")
    pip = tmp_path / "pip.py"
    pip.write_text(PIP.format(modules=MODULES, write_package=inspect.getsource(write_package)))
    (tmp_path / "base" / "bin").mkdir(parents=True)
    (tmp_path / "base" / "site").mkdir()
    (tmp_path / "base" / "site" / "ensurepip.py").touch()  # Debian's Python may lack it
    base, log = tmp_path / "base" / "bin" / "python", tmp_path / "calls.log"
    base.write_text(PYTHON.format(log=log, real=os.path.realpath(sys.executable), pip=pip))
    base.chmod(0o755)
    return Checkout(root, log, base)


def test_makes_its_environment_once_and_can_be_sourced_from_anywhere(checkout: Checkout) -> None:
    first = checkout.run()
    folder = checkout.root / ".venv"
    assert first.returncode == 0, first.stderr
    assert first.stdout == f"{folder}\n"
    assert installed(folder)["onedl-mmdetection"] == "3.5.1"
    assert len(checkout.installs()) == 3

    script = checkout.root / "tools" / "env.sh"
    second = checkout.run(f'set -eu; source "{script}"; command -v python; echo "$PYTHONPATH|$VIRTUAL_ENV|$-|$PWD"')
    assert second.returncode == 0, second.stderr
    python, state = second.stdout.splitlines()
    assert python == f"{folder}/bin/python"
    paths, active, options, cwd = state.split("|")
    assert (paths, active, cwd) == (str(checkout.root), str(folder), "/")
    assert "e" in options
    assert "u" in options
    assert checkout.installs() == []
    assert second.stderr == ""

    # active by then, it stays the script's own: it follows the pins
    with open(checkout.root / "requirements" / "core.txt", "a", encoding="utf-8") as file:
        file.write("newcomer==1.0\n")
    third = checkout.run(VIRTUAL_ENV=folder, PATH=f"{folder}/bin:{os.environ['PATH']}")
    assert third.returncode == 0, third.stderr
    assert installed(folder)["newcomer"] == "1.0"


@pytest.mark.parametrize("damage", ["interpreter", "pip", "package"])
def test_mends_a_damaged_environment(checkout: Checkout, damage: str) -> None:
    assert checkout.run().returncode == 0
    folder = checkout.root / ".venv"
    (folder / "leftover").touch()
    if damage == "interpreter":
        (folder / "bin" / "python").unlink()
        (folder / "bin" / "python").symlink_to(folder / "gone")
    elif damage == "pip":
        (folder / "has_pip").unlink()
        (folder / "mmsscl-stamp").unlink()
    else:
        shutil.rmtree(next((folder / "site").glob("onedl_mmcv-*")))
        (folder / "site" / "mmcv.py").unlink()
    result = checkout.run()
    assert result.returncode == 0, result.stderr
    assert installed(folder)["onedl-mmcv"] == "2.3.6"
    assert (folder / "leftover").exists() == (damage == "package")  # made anew, except where pip can complete it


def test_ci_keeps_its_environment_outside_the_checkout(checkout: Checkout, tmp_path: Path) -> None:
    result = checkout.run(CI="true", MMSSCL_ENV=tmp_path / "cache of environments")
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).parent == tmp_path / "cache of environments"
    assert not (checkout.root / ".venv").exists()


def test_says_that_the_named_python_does_not_serve(checkout: Checkout) -> None:
    checkout.base.rename(checkout.base.with_name("python3"))
    base = checkout.base.parent
    result = checkout.run(MMSSCL_PYTHON="/no/such/python", PATH=f"{base}:{os.environ['PATH']}")
    assert "MMSSCL_PYTHON=/no/such/python is no working Python 3.10, 3.11 or 3.12" in result.stderr


def test_adds_to_an_active_environment_only_what_it_lacks(checkout: Checkout) -> None:
    present = {"torch": "2.9.1", "torchvision": "0.24.1", "numpy": "2.4.0", "onedl-mmengine": "0.10.9"}
    folder = checkout.make_environment("my env", present)
    result = checkout.run(VIRTUAL_ENV=folder)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{folder}\n"
    packages = installed(folder)
    assert {name: packages[name] for name in present} == present
    assert packages["onedl-mmdetection"] == "3.5.1"
    assert packages["pytest"] == "9.2.0"
    assert checkout.run(VIRTUAL_ENV=folder).stderr == ""
    assert checkout.installs() == []


def test_falls_back_to_other_versions_where_the_pins_do_not_go_with_what_is_there(checkout: Checkout) -> None:
    folder = checkout.make_environment("env", TORCH | {"scipy": "0.1"})  # the stand-in pip refuses numpy's pin then
    result = checkout.run(VIRTUAL_ENV=folder)
    assert result.returncode == 0, result.stderr
    packages = installed(folder)
    assert (packages["numpy"], packages["scipy"], packages["onedl-mmcv"]) == ("9.9.9", "0.1", "2.3.6")


def test_leaves_a_complete_upstream_family_alone(checkout: Checkout) -> None:
    folder = checkout.make_environment("env", TORCH | OPENMMLAB)
    result = checkout.run(VIRTUAL_ENV=folder)
    assert result.returncode == 0, result.stderr
    assert not [name for name in installed(folder) if name.startswith("onedl")]


@pytest.mark.parametrize(
    ("packages", "message"),
    [
        (TORCH | {k: v for k, v in OPENMMLAB.items() if k != "mmpretrain"}, "but lacks mmpretrain"),
        ({"mmengine": "0.10.7"}, "but lacks mmcv mmpretrain mmdet"),
        (TORCH | {"mmcv-full": "1.7.2"}, "mmcv-full 1.7.2"),
        (TORCH | {"onedl-mmcv": "2.3.6", "mmcv": "2.1.0"}, "both provide the module 'mmcv'"),
        ({"torch": "2.11.0", "torchvision": "0.20.0"}, "do not belong together"),
    ],
)
def test_refuses_an_active_environment_that_does_not_fit(
    checkout: Checkout, packages: dict[str, str], message: str
) -> None:
    folder = checkout.make_environment("env", packages)
    result = checkout.run(VIRTUAL_ENV=folder)
    assert result.returncode == 1
    assert message in result.stderr
    assert "left as it is" in result.stderr
    assert "deactivate it" in result.stderr
    assert checkout.installs() == []
    assert installed(folder) == packages

    sourced = checkout.run(f'source "{checkout.root}/tools/env.sh" 2> /dev/null || echo refused', VIRTUAL_ENV=folder)
    assert sourced.stdout == "refused\n"


@pytest.mark.parametrize(
    ("half", "other", "version", "index"),
    [
        ({"torch": "2.9.1"}, "torchvision", "0.24.0", ""),
        ({"torch": "2.9.1+cpu"}, "torchvision", "0.24.0", "https://download.pytorch.org/whl/cpu"),
        ({"torchvision": "0.25.0"}, "torch", "2.10.0", ""),
    ],
)
def test_adds_the_matching_half_of_the_torch_pair(
    checkout: Checkout, half: dict[str, str], other: str, version: str, index: str
) -> None:
    folder = checkout.make_environment("env", half)
    checkout.run(VIRTUAL_ENV=folder)
    assert installed(folder).items() >= (half | {other: version}).items()
    assert index in checkout.installs()[0]
    assert bool(index) == ("--extra-index-url" in checkout.installs()[0])


def test_adds_pip_where_it_is_missing(checkout: Checkout) -> None:
    folder = checkout.make_environment("env", TORCH, pip=False)
    (folder / "site" / "ensurepip.py").touch()
    result = checkout.run(VIRTUAL_ENV=folder)
    assert result.returncode == 0, result.stderr
    assert "adding pip" in result.stderr


def test_names_the_remedy_where_pip_cannot_be_added(checkout: Checkout) -> None:
    folder = checkout.make_environment("env", TORCH, pip=False)
    (folder / "site" / "ensurepip.py").write_text("raise ImportError\n")
    result = checkout.run(VIRTUAL_ENV=folder)
    assert result.returncode == 1
    assert f"uv pip install --python {folder}/bin/python pip" in result.stderr
