"""The quickstart's stages: scenes, pretraining, export, two fine-tunings, pictures, summary, a zoo with its backbone.

Each stage is the command a user would type; its full output goes to a log beside the results and the lines that show
progress are passed on to the console. Run through ``bash tools/quickstart.sh``, which makes the environment first.
"""
import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRETRAIN_CONFIG = "configs/quickstart/scrl_r18_toy.py"
DETECTOR_CONFIG = "configs/quickstart/faster_rcnn_r18_fpn_toy.py"
RANDOM_CONFIG = "configs/quickstart/faster_rcnn_r18_fpn_toy_random.py"
UNLABELED_IMAGES = 1600
STAGES = 8
MARKER = ".mmsscl_quickstart"
# of what a stage prints: training and evaluation progress, results, errors; the rest stays in its log
PROGRESS = re.compile(
    r"Iter\((?P<loop>train|val)\)\s+(?P<done>\[\s*\d+/\d+\])|coco/bbox_mAP: "
    r"|^classes: | rendered | already complete |keys, sha256|pictures in|^error: |^[\w.]*Error: "
)
FIGURES = re.compile(r"(?<= )(?:eta|loss|projection_std|coco/bbox_mAP|coco/bbox_mAP_50): \S+")
LOG_PREFIX = re.compile(r"^\d\d/\d\d \d\d:\d\d:\d\d - mmengine - INFO - ")


def progress(line: str) -> str | None:
    """Return what of a stage's output line is worth showing, or None."""
    found = PROGRESS.search(line)
    if found is None:
        return None
    if found["loop"] is None:
        return LOG_PREFIX.sub("", line.rstrip())
    return f"{found['loop']:<5} {found['done']}  {'  '.join(FIGURES.findall(line))}"


def prepare_folder(folder: Path) -> Path:
    """Make an empty folder for the results and mark it; only what a quickstart made is ever emptied.

    Args:
        folder: absolute, or relative to the current folder.

    Returns:
        The folder relative to the checkout where it lies inside (as the summary and the configs name it), else absolute.
    """
    folder = Path(os.path.abspath(folder))
    if folder.exists() and not folder.is_dir():
        sys.exit(f"error: --out {folder} is a file. Name a folder, e.g. --out {folder}_results")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / MARKER).is_file():
            sys.exit(
                f"error: --out {folder} holds files that no quickstart wrote (it has no {MARKER}), and a quickstart "
                f"starts by emptying its folder. Name another folder, e.g. --out {folder / 'quickstart'}, or empty it "
                "yourself"
            )
        for child in folder.iterdir():
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            elif child.name != MARKER:  # stays to the end: an interrupted run can be started again
                child.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("Made by tools/quickstart.py, which empties this folder when it starts again.\n")
    return folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder


class Stages:
    """Run commands one after the other, keep their logs and times."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.seconds: dict[str, float] = {}

    def run(self, *commands: tuple[str, list[str]]) -> None:
        """Run a stage, or several side by side; stop the quickstart with the log's end of one that fails.

        Args:
            commands: name of each stage, and the arguments of its Python process.
        """
        first = len(self.seconds) + 1
        for number, (name, command) in enumerate(commands, start=first):
            print(f"\n[{number}/{STAGES}] {name}\n$ python {shlex.join(command)}", flush=True)
        environment = dict(os.environ)
        if len(commands) > 1:
            # threads of processes side by side would only fight over the cores
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // len(commands)))
        processes = [
            subprocess.Popen(
                [sys.executable, "-u", *command], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            for _, command in commands
        ]  # fmt: skip
        failed: list[tuple[str, int]] = []
        with ThreadPoolExecutor(len(commands)) as pool:
            followers = {
                pool.submit(self._follow, name, process, f"[{name}] " if len(commands) > 1 else ""): name
                for (name, _), process in zip(commands, processes)
            }
            for follower in as_completed(followers):
                if follower.result() != 0:
                    failed.append((followers[follower], follower.result()))
                    for process in processes:
                        process.terminate()
        if failed:
            name, status = failed[0]  # later ones were stopped because of it
            tail = "\n".join(self._log_path(name).read_text(encoding="utf-8").splitlines()[-25:])
            sys.exit(f"{tail}\nerror: the stage '{name}' failed (exit {status}); full log: {self._log_path(name)}")

    def _follow(self, name: str, process: subprocess.Popen, label: str) -> int:
        """Keep a process's output, pass its progress on, note its time; its exit status."""
        start = time.perf_counter()
        with open(self._log_path(name), "w", encoding="utf-8") as log:
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                shown = progress(line)
                if shown is not None:
                    print(f"  {label}{shown}", flush=True)
        status = process.wait()
        self.seconds[name] = round(time.perf_counter() - start, 1)
        return status

    def _log_path(self, name: str) -> Path:
        return self.out / f"{name.replace(' ', '_')}.log"


def scalars(work_dir: Path) -> list[dict]:
    """Read what mmengine logged in the newest run under a work directory."""
    files = sorted(work_dir.glob("*/vis_data/scalars.json"))
    if not files:
        sys.exit(f"error: no scalars.json under {work_dir}: the stage before did not log anything")
    return [json.loads(line) for line in files[-1].read_text().splitlines()]


def detection_result(work_dir: Path) -> dict[str, float]:
    """Return COCO's box mAP and mAP at IoU .5 of a fine-tuning's last evaluation."""
    last = [row for row in scalars(work_dir) if "coco/bbox_mAP" in row][-1]
    return {"bbox_mAP": last["coco/bbox_mAP"], "bbox_mAP_50": last["coco/bbox_mAP_50"]}


def table(summary: dict, seconds: dict[str, float], total: float) -> str:
    """Format the summary for the console."""
    pretrain, export, transfer = summary["pretrain"], summary["export"], summary["transfer"]
    rows = [f"{name:<28}{value:>8.1f} s" for name, value in seconds.items()]
    rows += [f"{'all stages':<28}{total:>8.1f} s", ""]
    rows += [
        f"SCRL loss {pretrain['loss_first']:.3f} -> {pretrain['loss_last']:.3f}, "
        f"projection std {pretrain['projection_std']:.2f} (0 collapsed, 1 fully spread)",
        f"backbone: {export['matched']} of {export['keys']} keys in {export['path']}",
        "",
        f"{transfer['detector']:<28}{'mAP':>8}{'mAP@50':>10}",
        f"{'  from random weights':<28}{transfer['random_bbox_mAP']:>8.3f}{transfer['random_bbox_mAP_50']:>10.3f}",
        f"{'  from SCRL':<28}{transfer['bbox_mAP']:>8.3f}{transfer['bbox_mAP_50']:>10.3f}",
    ]
    return "\n".join(rows)


def summarise(out: Path, stages: Stages) -> dict:
    """Collect the figures of all stages from their own logs."""
    from mmengine.config import Config

    log = [row for row in scalars(out / "scrl") if "loss" in row]
    batch_size = Config.fromfile(out / "scrl" / Path(PRETRAIN_CONFIG).name).train_dataloader.batch_size
    report = json.loads((out / "export.json").read_text())
    pretrained, random = detection_result(out / "detector"), detection_result(out / "detector_random")
    return {
        "pretrain": {
            "config": PRETRAIN_CONFIG,
            "images": UNLABELED_IMAGES,
            "epochs": round(log[-1]["step"] * batch_size / UNLABELED_IMAGES, 2),
            "loss_first": log[0]["loss"],
            "loss_last": log[-1]["loss"],
            "projection_std": log[-1]["projection_std"],
            "seconds": stages.seconds["pretrain SCRL"],
        },
        "export": report,
        "transfer": {
            "detector": "Faster R-CNN R18-FPN (light)",
            **pretrained,
            **{f"random_{key}": value for key, value in random.items()},
            "seconds": stages.seconds["fine-tune from SCRL"],
        },
        "stages": stages.seconds,
    }


def has_fast_bfloat16() -> bool:
    """True on GPUs and on processors with AMX, where bfloat16 halves the time; it slows all others down."""
    import torch

    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)  # private: may go or move
    return torch.cuda.is_available() or has_amx()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "work_dirs/quickstart", help="folder of the results")
    parser.add_argument("--seed", type=int, default=0, help="of the scenes, the pretraining and both fine-tunings")
    arguments = parser.parse_args()
    if arguments.seed < 0:
        sys.exit(f"error: --seed {arguments.seed} is negative. Choose a seed of 0 or more")
    out = prepare_folder(arguments.out)
    os.chdir(ROOT)

    amp = ["--amp", "bf16"] if has_fast_bfloat16() else []
    backbone, scenes = out / "backbone.pth", "data/toy_scenes"
    seed = ["--cfg-options", f"randomness.seed={arguments.seed}"]
    init = f"model.backbone.init_cfg.checkpoint={backbone}"
    start = time.perf_counter()
    stages = Stages(out)
    stages.run(("render scenes", [
        "tools/data/make_toy_scenes.py", scenes, "--train", "400", "--val", "200", "--unlabeled", str(UNLABELED_IMAGES),
        "--seed", str(arguments.seed),
    ]))  # fmt: skip
    stages.run(("pretrain SCRL", ["tools/train.py", PRETRAIN_CONFIG, "--work-dir", str(out / "scrl"), *amp, *seed]))
    checkpoint = out / "scrl" / (out / "scrl" / "last_checkpoint").read_text().strip().rsplit("/", 1)[-1]
    stages.run(("export backbone", [
        "tools/export_backbone.py", str(checkpoint), str(backbone), "--report", str(out / "export.json"),
    ]))  # fmt: skip
    # side by side: two cores finish both together in the time that one alone would take on both
    stages.run(
        ("fine-tune from SCRL", [
            "tools/train.py", DETECTOR_CONFIG, "--work-dir", str(out / "detector"), *amp, *seed, init,
        ]),
        ("fine-tune from random", [
            "tools/train.py", RANDOM_CONFIG, "--work-dir", str(out / "detector_random"), *amp, *seed,
        ]),
    )  # fmt: skip
    stages.run(("draw matched boxes", [
        "tools/browse_pairs.py", PRETRAIN_CONFIG, "--out", str(out / "matched_boxes"), "--number", "4", *seed,
    ]))  # fmt: skip
    detector = next((out / "detector").glob("iter_*.pth"))
    stages.run(("draw detections", [
        "tools/predict.py", DETECTOR_CONFIG, str(detector), f"{scenes}/val", "--out", str(out / "detections"),
        "--max-images", "6",
    ]))  # fmt: skip
    summary = {"seed": arguments.seed, **summarise(out, stages)}
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    stages.run(("publish backbone", [
        "tools/zoo.py", "add", str(backbone), "--name", "scrl_r18_toy", "--metrics", str(out / "summary.json"),
        "--into", str(out / "zoo"),
    ]))  # fmt: skip
    print("\n" + table(summary, stages.seconds, time.perf_counter() - start))
    print(f"\npictures: {out}/matched_boxes, {out}/detections\nsummary:  {out}/summary.json")
    zoo = (ROOT / out / "zoo").as_uri()
    print(f"backbone: MMSSCL_ZOO={zoo} mmsscl zoo list scrl_r18_toy\na page:   mmsscl report {out}/scrl")


if __name__ == "__main__":
    main()
