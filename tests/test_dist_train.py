"""``tools/dist_train.sh`` with two CPU processes."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch

from mmsscl.zoo.safe_load import load_checkpoint
from tests.sample_runs import ROOT, write_pretraining_config

REPORT = """
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
import json, pathlib, torch


@HOOKS.register_module()
class ReportRank(Hook):
    def before_run(self, runner):
        self.indices = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.indices += data_batch["pairs"]["index"].tolist()

    def after_train(self, runner):
        weights = float(sum(p.double().abs().sum() for p in runner.model.parameters()))
        norms = sorted({type(m).__name__ for m in runner.model.modules() if "BatchNorm" in type(m).__name__})
        report = dict(rank=get_rank(), world=get_world_size(), indices=self.indices, weights=weights, norms=norms,
                      wrapper=type(runner.model).__name__, backend=torch.distributed.get_backend())
        pathlib.Path(runner.work_dir, f"rank{get_rank()}.json").write_text(json.dumps(report))
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def launch(*arguments, port=None, cwd=None):
    environment = dict(
        os.environ, OMP_NUM_THREADS="1", PORT=str(port or free_port()), CUDA_VISIBLE_DEVICES="", PYTHON=sys.executable,
        PYTHONPATH=str(cwd or ROOT),
    )  # fmt: skip
    command = ["bash", str(ROOT / "tools/dist_train.sh"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=240)


# two interpreters import torch, mmcv and mmpretrain: about 20 s on 2 cores
@pytest.mark.slow
def test_two_cpu_processes_train_one_model(tmp_path):
    config = write_pretraining_config(tmp_path, photos=8)
    (tmp_path / "report_rank.py").write_text(REPORT)
    text = config.read_text().replace('momentum=0.99)]', 'momentum=0.99), dict(type="mmengine.ReportRank")]')
    config.write_text(text + 'custom_imports = dict(imports=["report_rank"], allow_failed_imports=False)\n')
    options = ("--work-dir", tmp_path / "run", "--cfg-options", "train_dataloader.batch_size=2")
    result = launch(config, 2, *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    reports = [json.loads((tmp_path / "run" / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    for report in reports:
        assert report["world"] == 2
        assert report["backend"] == "gloo"
        assert report["wrapper"] == "MMDistributedDataParallel"
        assert report["norms"], "the config's SyncBN became BN, which runs on a CPU"
        assert "SyncBatchNorm" not in report["norms"]
        assert len(report["indices"]) == 4
    assert sorted(reports[0]["indices"] + reports[1]["indices"]) == list(range(8)), "each photo goes to one rank"
    assert reports[0]["weights"] == reports[1]["weights"], "the ranks keep one model"
    assert len(list((tmp_path / "run").rglob("*.log"))) == 1, "one log, rank 0's"
    log = next((tmp_path / "run").rglob("*.log")).read_text()
    assert "Epoch(train) [1][2/2]" in log
    checkpoint = load_checkpoint(tmp_path / "run" / "epoch_1.pth")
    assert checkpoint["meta"]["iter"] == 2
    assert all(torch.isfinite(value).all() for value in checkpoint["state_dict"].values())


def test_usage_and_process_count_are_checked():
    missing = launch("configs/scrl_r50_coco.py")
    assert missing.returncode == 2
    assert "usage: bash tools/dist_train.sh CONFIG GPUS" in missing.stderr
    wrong = launch("configs/scrl_r50_coco.py", "two")
    assert wrong.returncode == 2
    assert "not 'two'" in wrong.stderr


@pytest.mark.parametrize("script", ["dist_train.sh", "dist_test.sh", "slurm_train.sh", "torchrun.sh"])
def test_scripts_are_valid_bash(script):
    subprocess.run(["bash", "-n", str(ROOT / "tools" / script)], check=True)


def slurm_train(tmp_path, *arguments, **variables):
    """What the script gives to srun, and whether it asks for its job to be requeued."""
    srun = tmp_path / "srun"
    srun.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@" "requeue=${MMSSCL_REQUEUE:-}"\n')
    srun.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "MMSSCL"))}
    environment = kept | {"PATH": f"{tmp_path}:{os.environ['PATH']}", **variables}
    command = ["bash", str(ROOT / "tools/slurm_train.sh"), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    *given, requeue = result.stdout.splitlines()
    return given, requeue.removeprefix("requeue=")


def test_slurm_asks_for_a_task_per_gpu(tmp_path):
    given, requeue = slurm_train(
        tmp_path, "gpu", "scrl", "c.py", "16", "--amp", GPUS_PER_NODE="8", SRUN_ARGS="--time=1 --exclusive"
    )
    assert requeue == ""
    wanted = "--partition=gpu --job-name=scrl --ntasks=16 --ntasks-per-node=8 --gres=gpu:8 --time=1 --exclusive"
    assert set(wanted.split()) <= set(given)
    assert given[-4:] == ["c.py", "--launcher", "slurm", "--amp"]


@pytest.mark.parametrize(
    ("arguments", "restarts", "last"),
    [
        (["--amp"], "0", ["--launcher", "slurm", "--amp"]),
        (["--amp"], "2", ["--launcher", "slurm", "--amp", "--resume"]),
        (["--resume", "epoch_3.pth"], "2", ["--launcher", "slurm", "--resume", "epoch_3.pth"]),
    ],
)
def test_a_batch_job_of_slurm_is_requeued_and_resumes(tmp_path, arguments, restarts, last):
    variables = {"SLURM_JOB_ID": "77", "SLURM_RESTART_COUNT": restarts}
    given, requeue = slurm_train(tmp_path, "gpu", "scrl", "c.py", "16", *arguments, **variables)
    assert requeue == "1"
    assert given[-len(last) :] == last
