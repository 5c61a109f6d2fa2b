import shutil
import subprocess
import sys
from collections import namedtuple

import pytest
import torch

from mmsscl import cli
from mmsscl.doctor import machine
from mmsscl.environment import reinstall_family, reinstall_torch
from tests.sample_runs import ROOT

ONEDL = {"onedl-mmengine": "0.10.12", "onedl-mmcv": "2.3.6", "onedl-mmpretrain": "1.3.6"}


def named(report, name):
    return [finding for finding in report.findings if finding.name == name]


@pytest.fixture
def roomy(monkeypatch):
    """A machine with room and without a GPU, whatever this one has."""
    usage = namedtuple("U", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 0, 10**12))
    monkeypatch.setattr(shutil, "which", lambda name: None)


@pytest.mark.usefixtures("roomy")
def test_this_machine_is_well(capsys):
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert said.endswith("all is well\n")
    for fact in (torch.__version__.split("+")[0], "operators", "Python", "onedl-mmdetection", "OneDL (all four)"):
        assert fact in said
    assert all(line.startswith("  ") for line in said.splitlines()[:-1])


def test_it_runs_where_mmsscl_cannot_be_imported(tmp_path):
    for name, version in ONEDL.items():
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    command = [sys.executable, "-S", "-m", "mmsscl.cli"]
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run([*command, "doctor"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (1, "")
    said = run.stdout.splitlines()
    assert any(line.startswith("! packages") and "torch and torchvision missing" in line for line in said)
    assert any(line.startswith("! packages") and "'mmdet' is missing" in line and "pip install" in line for line in said)
    assert any(line.startswith("! torch") and "ModuleNotFoundError: No module named 'torch'" in line for line in said)
    assert said[-1].endswith("problems (marked !)")
    command += ["train", "x"]
    other = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert other.returncode == 1
    assert "mmsscl cannot run in this environment" in other.stderr


@pytest.mark.parametrize(
    ("module", "error", "name", "command"),
    [
        ("torchvision", "RuntimeError('operator torchvision::nms does not exist')", "torchvision", reinstall_torch()),
        ("pycocotools", "ValueError('numpy.dtype size changed')", "pycocotools", "--no-cache-dir pycocotools"),
        ("cv2", "AttributeError('module numpy has no attribute bool8')", "OpenCV", "--force-reinstall --no-deps opencv"),
        ("torch", "OSError('libcudart.so.13: cannot open shared object file')", "torch", reinstall_torch()),
        ("mmcv", "TypeError('metaclass conflict')", "operators", reinstall_family()),
    ],
)
def test_what_is_broken_is_told_with_the_command_that_mends_it(tmp_path, monkeypatch, module, error, name, command):
    (tmp_path / f"{module}.py").write_text(f"raise {error}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    finding = named(machine.examine(), name)[-1]
    assert finding.problem
    assert f"cannot be imported: {error.partition('(')[0]}: " in finding.text
    assert command in finding.text


def test_gpus_are_told_with_what_they_lack(monkeypatch):
    old, new = (namedtuple("P", "name total_memory major")(*each) for each in (("T4", 16e9, 7), ("H100", 80e9, 9)))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: (old, new)[number])
    report = machine.examine()
    assert named(report, "GPU 0")[0].text == "T4, 16 GB; no bfloat16: train with --amp fp16"
    assert named(report, "GPU 1")[0].text == "H100, 80 GB"


def test_a_gpu_that_torch_does_not_find_is_a_problem(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    (finding,) = named(machine.examine(), "GPU")
    assert finding.problem
    assert "the driver is too old for it, or CUDA_VISIBLE_DEVICES hides them" in finding.text
    assert reinstall_torch() in finding.text
    monkeypatch.setattr(torch.version, "cuda", None)
    (finding,) = named(machine.examine(), "GPU")
    assert finding.problem
    assert "CPU-only build" in finding.text
    assert reinstall_torch() in finding.text


@pytest.mark.parametrize(
    ("place", "name", "hint"), [(".", "disk here", "--work-dir"), ("/dev/shm", "/dev/shm", "--shm-size")]
)
def test_little_room_is_a_problem(monkeypatch, place, name, hint):
    usage, real = namedtuple("U", "total used free"), shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(6e7, 0, 6e7) if path == place else real(path))
    (finding,) = named(machine.examine(), name)
    assert finding.problem
    assert hint in finding.text
    assert "1 problem (marked !)" in machine.MachineReport([finding]).text()


def test_another_python_is_a_problem(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    (finding,) = named(machine.MachineReport([machine._python()]), "Python")
    assert finding.problem
    assert "3.10 to 3.12" in finding.text
