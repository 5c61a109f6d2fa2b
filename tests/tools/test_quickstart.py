"""tools/quickstart.py without its stages: what it shows, what it deletes, what it writes."""
import importlib.util
import json
import os
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from mmsscl import cli
from tests.conftest import Exported

ROOT = Path(__file__).resolve().parents[2]
STAMP = "11/21 22:24:49 - mmengine - INFO - "
PRETRAIN_LINE = (
    STAMP + "Iter(train) [ 10/150]  lr: 4.7895e-04  eta: 0:02:22  time: 1.0186  data_time: 0.0124  momentum_target: 0.9703  "
    "loss: 3.0243  loss_cosine: 3.0243  positive_cosine: 0.5218  projection_std: 0.8051  boxes_per_image: 10.0000\n"
)
DETECTOR_LINE = (
    STAMP + "Iter(train) [100/120]  lr: 1.0000e-03  eta: 0:01:15  time: 0.6898  data_time: 0.0173  loss: 1.7554  "
    "loss_rpn_cls: 0.6060  loss_rpn_bbox: 0.0071  loss_cls: 0.9089  acc: 88.2812  loss_bbox: 0.2333\n"
)
RESULT_LINE = (
    STAMP + "Iter(val) [25/25]    coco/bbox_mAP: 0.2650  coco/bbox_mAP_50: 0.5520  coco/bbox_mAP_75: 0.2010  "
    "coco/bbox_mAP_s: 0.3340  coco/bbox_mAP_m: 0.2620  coco/bbox_mAP_l: -1.0000  data_time: 0.0092  time: 0.2299\n"
)


@pytest.fixture(scope="module")
def quickstart() -> ModuleType:
    spec = importlib.util.spec_from_file_location("quickstart", ROOT / "tools" / "quickstart.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (PRETRAIN_LINE, "train [ 10/150]  eta: 0:02:22  loss: 3.0243  projection_std: 0.8051"),
        (DETECTOR_LINE, "train [100/120]  eta: 0:01:15  loss: 1.7554"),
        (STAMP + "Iter(val) [10/25]    eta: 0:00:03  time: 0.2487  data_time: 0.0146  \n", "val   [10/25]  eta: 0:00:03"),
        (RESULT_LINE, "val   [25/25]  coco/bbox_mAP: 0.2650  coco/bbox_mAP_50: 0.5520"),
        ("classes: disc, square, triangle\n", "classes: disc, square, triangle"),
        ("backbone.pth: 120 of 120 keys, sha256 706fb5b6\n", "backbone.pth: 120 of 120 keys, sha256 706fb5b6"),
        (STAMP + "4 pictures in boxes; all together: boxes/contact_sheet.png\n",
         "4 pictures in boxes; all together: boxes/contact_sheet.png"),
        ("error: data/photos: no such folder\n", "error: data/photos: no such folder"),
        ("torch.cuda.OutOfMemoryError: out of memory\n", "torch.cuda.OutOfMemoryError: out of memory"),
        (STAMP + "bbox_mAP_copypaste: 0.265 0.552 0.201 0.334 0.262 -1.000\n", None),
        (STAMP + "Evaluating bbox...\n", None),
        ("Accumulating evaluation results...\n", None),
        ("\n", None),
    ],
)
def test_progress(quickstart: ModuleType, line: str, shown: str | None) -> None:
    assert quickstart.progress(line) == shown


def test_never_empties_a_folder_of_others(quickstart: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SystemExit, match=r"holds files that no quickstart wrote.*--out .*/quickstart") as stop:
        quickstart.prepare_folder(tmp_path)
    assert str(tmp_path) in str(stop.value)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(SystemExit, match="is a file"):
        quickstart.prepare_folder(tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("exists", [True, False])
def test_takes_an_empty_folder_and_empties_its_own(quickstart: ModuleType, tmp_path: Path, exists: bool) -> None:
    out = tmp_path / "a" / "b"
    if exists:
        out.mkdir(parents=True)
    assert quickstart.prepare_folder(out) == out
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "photo.jpg").touch()
    (out / "scrl" / "run").mkdir(parents=True)
    (out / "scrl" / "run" / "iter_150.pth").touch()
    (out / "summary.json").touch()
    (out / "link").symlink_to(kept)
    assert quickstart.prepare_folder(out) == out
    assert [path.name for path in out.iterdir()] == [quickstart.MARKER]
    assert (kept / "photo.jpg").exists()


def test_a_relative_folder_is_the_callers(
    quickstart: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert quickstart.prepare_folder(Path("results")) == tmp_path / "results"
    monkeypatch.setattr(quickstart, "ROOT", tmp_path)
    assert quickstart.prepare_folder(tmp_path / "work_dirs" / "quickstart") == Path("work_dirs/quickstart")


def write_run(folder: Path, rows: list[dict[str, float]], name: str = "20260101_000000") -> None:
    (folder / name / "vis_data").mkdir(parents=True)
    (folder / name / "vis_data" / "scalars.json").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def summary(quickstart: ModuleType, tmp_path: Path) -> dict:
    write_run(
        tmp_path / "scrl",
        [{"loss": 3.0243, "projection_std": 0.8051, "step": 10}, {"loss": 1.2346, "projection_std": 0.8651, "step": 150}],
    )
    (tmp_path / "scrl" / "scrl_r18_toy.py").write_text("train_dataloader = dict(batch_size=16)\n")
    for name, (first, last, last_50) in {"detector": (0.1, 0.514, 0.881), "detector_random": (0.1, 0.265, 0.552)}.items():
        rows = [{"coco/bbox_mAP": ap, "coco/bbox_mAP_50": ap_50} for ap, ap_50 in ((first, 0.2), (last, last_50))]
        write_run(tmp_path / name, [{"loss": 1.0, "step": 10}, *rows])
    report = {"path": "work_dirs/quickstart/backbone.pth", "matched": 120, "keys": 120, "sha256": "706fb5b6"}
    (tmp_path / "export.json").write_text(json.dumps(report))
    stages = quickstart.Stages(tmp_path)
    stages.seconds = {"pretrain SCRL": 150.2, "fine-tune from SCRL": 101.3}
    return quickstart.summarise(tmp_path, stages)


def test_summary(summary: dict) -> None:
    assert summary["pretrain"] == {
        "config": "configs/quickstart/scrl_r18_toy.py", "images": 1600, "epochs": 1.5, "loss_first": 3.0243,
        "loss_last": 1.2346, "projection_std": 0.8651, "seconds": 150.2,
    }
    assert summary["export"].items() >= {
        "path": "work_dirs/quickstart/backbone.pth", "matched": 120, "keys": 120
    }.items()
    detector = summary["transfer"].pop("detector")
    assert "Faster R-CNN" in detector
    assert summary["transfer"] == {
        "bbox_mAP": 0.514, "bbox_mAP_50": 0.881, "random_bbox_mAP": 0.265, "random_bbox_mAP_50": 0.552, "seconds": 101.3
    }
    assert json.loads(json.dumps(summary)) == summary


def test_table(quickstart: ModuleType, summary: dict) -> None:
    assert quickstart.table(summary, {"pretrain SCRL": 150.2, "fine-tune from SCRL": 101.3}, 260.04).splitlines() == [
        "pretrain SCRL                  150.2 s",
        "fine-tune from SCRL            101.3 s",
        "all stages                     260.0 s",
        "",
        "SCRL loss 3.024 -> 1.235, projection std 0.87 (0 collapsed, 1 fully spread)",
        "backbone: 120 of 120 keys in work_dirs/quickstart/backbone.pth",
        "",
        "Faster R-CNN R18-FPN (light)     mAP    mAP@50",
        "  from random weights          0.265     0.552",
        "  from SCRL                    0.514     0.881",
    ]


def test_summary_without_a_logged_run(quickstart: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no scalars.json under"):
        quickstart.scalars(tmp_path)


def test_one_seed_reaches_every_random_stage(
    quickstart: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: dict[str, list[str]] = {}

    def record(self: object, *stages: tuple[str, list[str]]) -> None:
        commands.update(stages)
        if "pretrain SCRL" in dict(stages):
            (tmp_path / "out" / "scrl").mkdir()
            (tmp_path / "out" / "scrl" / "last_checkpoint").write_text("iter_400.pth")
        if "draw matched boxes" in dict(stages):
            raise SystemExit(0)  # what comes next reads a real run's files

    monkeypatch.setattr(quickstart.Stages, "run", record)
    monkeypatch.setattr("sys.argv", ["quickstart.py", "--out", str(tmp_path / "out"), "--seed", "7"])
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit):
        quickstart.main()
    assert commands.pop("render scenes")[-2:] == ["--seed", "7"]
    del commands["export backbone"]
    assert len(commands) == 4
    assert all("randomness.seed=7" in command for command in commands.values())


def test_the_backbone_is_published_and_listed_with_its_figures(
    quickstart: ModuleType, summary: dict, exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "out"

    def run(self: object, *stages: tuple[str, list[str]]) -> None:
        for name, command in stages:
            if name == "pretrain SCRL":
                (out / "scrl").mkdir()
                (out / "scrl" / "last_checkpoint").write_text("iter_400.pth")
            if name == "export backbone":
                shutil.copy(exported.online, command[2])
            if name == "fine-tune from SCRL":
                (out / "detector").mkdir()
                (out / "detector" / "iter_120.pth").touch()
            if name == "publish backbone":
                assert command[0] == "tools/zoo.py"
                assert cli.main(["zoo", *command[1:]]) == 0

    monkeypatch.setattr(quickstart.Stages, "run", run)
    monkeypatch.setattr(quickstart, "summarise", lambda out, stages: summary)
    monkeypatch.setattr("sys.argv", ["quickstart.py", "--out", str(out)])
    monkeypatch.chdir(ROOT)
    quickstart.main()
    monkeypatch.setenv("MMSSCL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MMSSCL_ZOO", re.findall(r"MMSSCL_ZOO=(\S+) mmsscl zoo list", capsys.readouterr().out)[0])
    assert cli.main(["zoo", "list", "scrl_r18_toy", "verified"]) == 0
    assert cli.main(["zoo", "show", "scrl_r18_toy"]) == 0
    assert "bbox_mAP 0.514" in capsys.readouterr().out


def test_a_negative_seed_is_refused(quickstart: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["quickstart.py", "--out", str(tmp_path / "out"), "--seed", "-1"])
    with pytest.raises(SystemExit, match="--seed -1 is negative"):
        quickstart.main()
    assert not (tmp_path / "out").exists()


def test_stages_side_by_side_share_the_cores_and_are_labelled(
    quickstart: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "stage.py"
    script.write_text(
        "import os, sys, time\n"
        "mine, other = sys.argv[1:]\n"
        "open(mine, 'w').close()\n"
        "while not os.path.exists(other): time.sleep(.01)\n"  # ends only where both run at once
        "print('classes:', os.environ['OMP_NUM_THREADS'])\n"
    )
    stages = quickstart.Stages(tmp_path)
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    stages.run(("one", [str(script), first, second]), ("two", [str(script), second, first]))
    threads = max(1, (os.cpu_count() or 1) // 2)
    out = capsys.readouterr().out
    assert f"[one] classes: {threads}" in out
    assert f"[two] classes: {threads}" in out
    assert "[1/8] one" in out
    assert "[2/8] two" in out
    assert set(stages.seconds) == {"one", "two"}
    assert (tmp_path / "two.log").read_text() == f"classes: {threads}\n"


def test_a_failing_stage_stops_the_one_beside_it_and_shows_its_log(quickstart: ModuleType, tmp_path: Path) -> None:
    endless, failing = tmp_path / "endless.py", tmp_path / "failing.py"
    endless.write_text("import time\ntime.sleep(120)\n")
    failing.write_text("import sys\nprint('what went wrong')\nsys.exit(3)\n")
    stages = quickstart.Stages(tmp_path)
    with pytest.raises(SystemExit, match=r"(?s)what went wrong.*the stage 'bad one' failed \(exit 3\).*bad_one\.log"):
        stages.run(("good", [str(endless)]), ("bad one", [str(failing)]))
    assert stages.seconds["good"] < 60, "stopped, not waited for"
