import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmsscl import cli
from mmsscl.cli.program import build_parser
from mmsscl.datasets.toy_scenes import write_toy_scenes
from mmsscl.engine.config import load_config
from mmsscl.engine.preflight import check_config
from mmsscl.errors import InputError
from mmsscl.evaluation.network_maps import extraction_of
from mmsscl.evaluation.scene_bench import METHODS, BenchSettings, Cell, run_cell
from mmsscl.evaluation.scene_bench.cell import CellStopped, read_cell
from mmsscl.evaluation.scene_bench.settings import STAGES
from mmsscl.evaluation.scene_bench.stages import data_wait, stage_of
from mmsscl.evaluation.scene_bench.table import BEGIN, COLUMNS, END, markdown, plot, read_cells, write_into
from tests.sample_runs import ROOT, write_photos

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder of the bench's layout, tiny."""
    root = tmp_path_factory.mktemp("bench_data")
    toy = write_toy_scenes(root / "toy", train=8, val=4, unlabeled=4, size=96)
    for name in ("voc_scenes", "coco_mini"):
        (root / name / "images").mkdir(parents=True)
        for split in ("train", "val"):
            content = json.loads(Path(toy.annotations(split)).read_text())
            for image in content["images"]:
                source = Path(toy.images(split)) / image["file_name"]
                image["file_name"] = f"{split}_{image['file_name']}"
                shutil.copy(source, root / name / "images" / image["file_name"])
            (root / name / f"instances_{split}.json").write_text(json.dumps(content))
    shutil.copytree(toy.images("unlabeled"), root / "coco_mini/unlabeled")
    for split, count in (("train", 7), ("val", 3)):
        for label in ("one", "two", "three"):
            write_photos(root / "caltech101" / split / label, count, 40)
    (root / "ecssd/masks").mkdir(parents=True)
    for path in write_photos(root / "ecssd/images", 3, 64).iterdir():
        mask = np.zeros((64, 64), np.uint8)
        mask[16:48, 16:48] = 255
        cv2.imwrite(str(root / "ecssd/masks" / f"{path.stem}.png"), mask)
    return root


def small(data, **changes):
    return BenchSettings(**{
        "data": str(data), "configs": str(ROOT / "configs"), "epochs": 2, "photos": 8, "detection_steps": 2, "size": 64,
        "region_photos": 4, "amp": None, "options": (
            ("train_dataloader.num_workers", 0), ("train_dataloader.batch_size", 4),
            ("train_dataloader.persistent_workers", False), ("model.backbone.base_channels", 8),
            ("model.backbone.stem_channels", 8), ("model.neck.in_channels", 64),
        ), "detection_options": (
            ("model.backbone.base_channels", 8), ("model.backbone.stem_channels", 8),
            ("model.neck.in_channels", [8, 16, 32, 64]), ("train_dataloader.batch_size", 2),
            *((f"{name}_dataloader.{key}", value) for name in ("train", "val", "test")
              for key, value in (("num_workers", 0), ("persistent_workers", False))),
        ), **changes,
    })  # fmt: skip


class Run:
    """Runs verbs in this process; counts them, and fails or stops at one of them."""

    def __init__(self, stop_at: int = -1, status: int = 75) -> None:
        self.verbs: list[str] = []
        self.stop_at, self.status = stop_at, status

    def __call__(self, command):
        self.verbs.append(command[1] if command[0] == "eval" else command[0])
        return self.status if len(self.verbs) - 1 == self.stop_at else cli.main(command)


@pytest.fixture(scope="module")
def bench(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("bench")
    run = Run()
    few = STAGES[:3]  # a cell without pretraining differs in its first step; detectors take longest
    cells = [run_cell(Cell("random", 0), out, small(data), run, few), run_cell(Cell("scrl", 0), out, small(data), run)]
    return out, cells, run


def test_a_cell_holds_figures_of_all_steps(bench):
    out, cells, run = bench
    measures = ["export", "knn", "linear", "regions", "saliency", "train", "test", "train", "test"]
    assert run.verbs == [*measures[:3], "train", *measures]
    for cell, stages in zip(cells, (STAGES[:3], STAGES)):
        assert tuple(name for name, stage in cell["stages"].items() if stage) == stages
        for column in COLUMNS:
            if column.stage in stages:
                assert 0 <= cell["stages"][column.stage]["result"][column.key] <= 100, column
        assert all(cell["stages"][name]["seconds"] >= 0 and cell["stages"][name]["begun"] == 1 for name in stages)
        assert cell["stages"]["knn"]["made_with"]["torch"] == torch.__version__
    assert cells[1]["stages"]["pretrain"]["result"].keys() == {"loss", "projection_std"}
    assert 0 < cells[1]["stages"]["pretrain"]["data_wait"] < 1
    assert cells[1]["stages"]["detection"]["data_wait"] is None, "two steps are too few to be logged"
    assert "data_wait" not in cells[0]["stages"]["pretrain"]
    assert read_cell(out / "scrl_seed0") == json.loads(json.dumps(cells[1]))
    frozen = torch.load(out / "scrl_seed0/detection_frozen/iter_2.pth", weights_only=False)["state_dict"]
    backbone = torch.load(out / "scrl_seed0/backbone.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(frozen[f"backbone.{key}"], value) for key, value in backbone.items())


def test_what_is_done_is_not_done_again(bench, data):
    out, cells, _ = bench
    run = Run()
    assert run_cell(Cell("scrl", 0), out, small(data), run) == json.loads(json.dumps(cells[1]))
    assert run.verbs == []


@pytest.mark.parametrize(("stop_at", "status"), [(0, 75), (1, -15), (2, -2)])
def test_a_cell_goes_on_where_it_was_cut(bench, data, tmp_path, stop_at, status):
    _, cells, whole = bench
    stages, run, again = STAGES[:2], Run(stop_at, status), Run()  # the others go on as these do
    with pytest.raises(CellStopped, match="The same command goes on"):
        run_cell(Cell("scrl", 0), tmp_path, small(data), run, stages)
    found = run_cell(Cell("scrl", 0), tmp_path, small(data), again, stages)
    wanted = whole.verbs[3:6]
    assert run.verbs == wanted[: stop_at + 1]
    assert again.verbs[stop_at - len(wanted) :] == wanted[stop_at:]
    results = [{name: cell["stages"][name]["result"] for name in stages} for cell in (found, cells[1])]
    assert results[0] == results[1]
    assert sorted(found["stages"][name]["begun"] for name in stages) == [1, 2]


def test_a_pretraining_that_was_run_before_is_taken(bench, data, tmp_path):
    out, cells, _ = bench
    checkpoint = out / "scrl_seed0/pretrain/epoch_2.pth"
    run, stages = Run(), ("pretrain", "knn")
    cell = run_cell(Cell("scrl", 0), tmp_path, small(data), run, stages, checkpoint)
    assert run.verbs == ["export", "knn"]
    assert cell["stages"]["knn"]["result"] == cells[1]["stages"]["knn"]["result"]
    about = {"file": "epoch_2.pth", "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest()}
    assert cell["stages"]["pretrain"]["given"] == about
    assert "| given | 1 |" in markdown(read_cells(tmp_path))
    again = Run()
    run_cell(Cell("scrl", 0), tmp_path, small(data), again, stages, checkpoint)
    assert again.verbs == []
    with pytest.raises(InputError, match="was begun from another pretraining"):
        run_cell(Cell("scrl", 0), out, small(data), Run(), stages, checkpoint)


@pytest.mark.parametrize(
    ("method", "seed", "changes", "message"),
    [("byol", 0, {}, r"epoch_2\.pth: was trained with model\..*the bench's is"),
     ("scrl", 1, {}, r"randomness\.seed 0, the bench's is 1"),
     ("scrl", 0, {"epochs": 3}, r"train_cfg\.max_epochs 2, the bench's is 3"),
     ("scrl", 0, {"photos": 7}, r"train_dataloader\.dataset\.indices")],
)  # fmt: skip
def test_another_pretraining_is_not_taken(bench, data, tmp_path, method, seed, changes, message):
    checkpoint = bench[0] / "scrl_seed0/pretrain/epoch_2.pth"
    with pytest.raises(InputError, match=message):
        run_cell(Cell(method, seed), tmp_path, small(data, **changes), Run(), ("pretrain",), checkpoint)
    assert not (tmp_path / f"{method}_seed{seed}/backbone.pth").exists()


def test_a_pretraining_that_has_not_ended_is_not_taken(bench, data, tmp_path):
    content = torch.load(bench[0] / "scrl_seed0/pretrain/epoch_2.pth", weights_only=False)
    content["meta"]["epoch"] = 1
    torch.save(content, tmp_path / "early.pth")
    with pytest.raises(InputError, match=r"early\.pth: is of epoch 1; the bench compares after epoch 2"):
        run_cell(Cell("scrl", 0), tmp_path, small(data), Run(), ("pretrain",), tmp_path / "early.pth")


@pytest.mark.parametrize(
    ("words", "message"),
    [(["random=a.pth"], "'random' is not a method that --methods pretrains"), (["scrl"], "--pretrained scrl: names no file"),
     (["moco=a.pth"], "'moco' is not a method"), (["byol=gone.pth"], "byol=gone.pth: no such file"),
     (["byol=a.pth", "--seeds", "0", "1"], "a checkpoint has one seed")],
)  # fmt: skip
def test_checkpoints_that_fit_no_cell_are_told(data, tmp_path, capsys, words, message):
    assert cli.main(["bench", "run", "--data", str(data), "--out", str(tmp_path), "--pretrained", *words]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: --pretrained")
    assert message in told
    assert not list(tmp_path.iterdir())


def test_a_step_that_fails_is_told_with_its_command(data, tmp_path):
    with pytest.raises(InputError, match=r"scrl, seed 3: pretrain failed with exit status 2: mmsscl train .*pretrain\.py"):
        run_cell(Cell("scrl", 3), tmp_path, small(data), Run(0, 2))
    assert read_cell(tmp_path / "scrl_seed3")["stages"]["pretrain"] == {"begun": 1}


def test_other_settings_are_refused(bench, data):
    out, _, _ = bench
    with pytest.raises(InputError, match="was run with other settings"):
        run_cell(Cell("scrl", 0), out, small(data, epochs=3), Run())
    moved = small(data, device="cpu", workers=3, keep_decoded=0.5)
    assert moved.hash() == small(data).hash(), "where it runs, and how photos are read, does not count"


@pytest.mark.parametrize(
    ("gpu", "changes", "workers", "keep"),
    [(False, {}, 1, 4.0), (True, {}, 7, 4.0), (True, {"workers": 2, "keep_decoded": 0}, 2, 0)],
)
def test_photos_are_kept_decoded_and_a_gpu_gets_more_workers(data, tmp_path, monkeypatch, gpu, changes, workers, keep):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8))
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PHYS_PAGES": 5_000_000, "SC_PAGE_SIZE": 4096}[name])
    stage_of("pretrain", METHODS["scrl"], 0, tmp_path, small(data, options=(), **changes))
    loader = load_config(tmp_path / "pretrain.py").train_dataloader
    assert (loader.num_workers, loader.dataset.keep_decoded) == (workers, keep)


def test_two_processes_do_not_share_a_cell(data, tmp_path):
    def run(command):
        with pytest.raises(InputError, match="another process works on this cell"):
            run_cell(Cell("random", 0), tmp_path, small(data), Run())
        return 75

    with pytest.raises(CellStopped):
        run_cell(Cell("random", 0), tmp_path, small(data), run)


def test_a_cell_is_its_steps_while_that_runs(data, tmp_path):
    left = []

    def run(command):
        left.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False))
        return 75

    with pytest.raises(CellStopped):
        run_cell(Cell("random", 0), tmp_path, small(data), run)
    with pytest.raises(InputError, match="another process works on this cell"):
        run_cell(Cell("random", 0), tmp_path, small(data), run)
    left[0].kill()
    left[0].wait()
    with pytest.raises(CellStopped):
        run_cell(Cell("random", 0), tmp_path, small(data), lambda command: 75)
    assert len(left) == 1


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_methods_config_can_be_trained(data, tmp_path, method):
    settings = small(data, options=(), photos=None)
    stage = stage_of("pretrain", METHODS[method], 5, tmp_path, settings)
    config = load_config(tmp_path / "pretrain.py")
    assert config.randomness.seed == 5
    assert config.train_cfg.max_epochs == 2
    assert config.param_scheduler[-1].end == 2
    assert [command[0] for command in stage.commands] == ["train", "export"][not METHODS[method].trains :]
    check_config(config)


def test_saliency_is_measured_alike_for_all_methods(data, tmp_path):
    settings, found = small(data, options=(), photos=None), {}
    for method in ("byol", "scrl", "sgcl", "scrl_sgcl"):
        stage_of("pretrain", METHODS[method], 0, tmp_path, settings)
        (command,) = stage_of("saliency", METHODS[method], 0, tmp_path, settings).commands
        options = build_parser().parse_args(command)
        found[method] = extraction_of(
            load_config(options.config), options.estimator, image_size=options.image_size, map_size=options.map_size,
            batch_size=options.batch_size, mirror=False if options.no_mirror else None,
        )  # fmt: skip
    assert all(each == found["byol"] for each in found.values())


def test_controls_change_what_they_say(data, tmp_path):
    def text(method):
        folder = tmp_path / method
        folder.mkdir()
        stage_of("pretrain", METHODS[method], 0, folder, small(data, options=()))
        return load_config(folder / "pretrain.py").to_dict()

    plain = text("sgcl")
    step = plain["train_dataloader"]["dataset"]["pipeline"]
    assert [s["type"] for s in step][1:4] == ["LoadSaliency", "SpatialConsistentPair", "LocalCrops"]
    for source in ("shuffled", "gaussian", "uniform"):
        control = text(f"sgcl_{source}")["train_dataloader"]["dataset"]["pipeline"]
        assert control[1] == {"type": "LoadSaliency", "source": source}
        assert control[2:] == step[2:]
    weights = text("sgcl_weights_only")["train_dataloader"]["dataset"]["pipeline"]
    assert [view["lambda_max"] for view in weights[2]["views"]] == [0.0, 0.0]
    assert (weights[2]["max_iou"], weights[3]["lambda_max"]) == (None, 0.0)
    assert text("sgcl_crop_only")["model"]["weigh"] is False
    assert text("sgcl_no_saliency")["custom_hooks"][1]["strength"] == 0.0


def test_the_wait_for_data_is_a_share_of_all_steps_but_the_first_logged(tmp_path):
    for run, rows in (("1", [(5, 9), (0.1, 1), (0.3, 1)]), ("2", [(9, 9), (0.2, 2)])):
        (tmp_path / run / "vis_data").mkdir(parents=True)
        lines = [{"data_time": wait, "time": time, "loss": 1.0} for wait, time in rows]
        lines.append({"coco/bbox_mAP": 0.1, "data_time": 1, "time": 2})
        (tmp_path / run / "vis_data/scalars.json").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert data_wait(tmp_path) == pytest.approx(0.6 / 4)


def fake(method, seed, **results):
    stages = {column.stage: {} for column in COLUMNS} | {"pretrain": {"seconds": 100.4, "result": {}, "begun": 1}}
    for key, value in results.items():
        stage, _, name = key.partition("__")
        stages[stage].setdefault("result", {})[name] = value
    return {"method": method, "seed": seed, "settings": "s", "stages": stages}


def test_the_table_says_means_spreads_and_what_is_missing():
    cells = [fake("random", 0, detection__ap=10.0), fake("scrl", 0, detection__ap=20.0, knn__top1=30.0),
             fake("scrl", 1, detection__ap=22.0)]  # fmt: skip
    lines = markdown(cells, ["random", "byol", "scrl"]).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    rows = {line.split("|")[1].strip(): [part.strip() for part in line.split("|")[2:-1]] for line in lines[2:]}
    assert rows["random weights"] == ["10.0", *["-"] * 7, "-", "1"], "making weights is no pretraining"
    assert rows["BYOL"] == ["-"] * 10
    assert rows["SCRL"] == ["21.0 ± 1.4 (2)", "-", "-", "-", "30.0", "-", "-", "-", "100, 100", "2"]


def test_the_table_is_put_between_its_marks(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_into(page, "| new |")
    assert page.read_text() == f"before\n{BEGIN}\n| new |\n{END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(InputError, match=r"README\.md: has no lines <!-- scene_bench: begin"):
        write_into(page, "x")
    with pytest.raises(InputError, match=r"none\.md: cannot be read"):
        write_into(tmp_path / "none.md", "x")


def test_cells_of_other_settings_are_not_compared(tmp_path):
    with pytest.raises(InputError, match="holds no cells"):
        read_cells(tmp_path)
    for seed, settings in ((0, "a"), (1, "b")):
        (tmp_path / f"byol_seed{seed}").mkdir()
        (tmp_path / f"byol_seed{seed}/cell.json").write_text(json.dumps(fake("byol", seed) | {"settings": settings}))
    with pytest.raises(InputError, match="a: byol seed 0; b: byol seed 1"):
        read_cells(tmp_path)
    (tmp_path / "byol_seed1/cell.json").write_text("{")
    with pytest.raises(InputError, match=r"cell\.json: not a readable cell"):
        read_cells(tmp_path)


def test_a_plot_is_drawn(bench, tmp_path):
    out, _, _ = bench
    plot([*read_cells(out), fake("byol", 0)], tmp_path / "plot.png")
    picture = cv2.imread(str(tmp_path / "plot.png"))
    assert picture.shape[1] == 1800
    assert picture.std() > 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"epochs": 0}, "--epochs 0"), ({"photos": -1}, "--photos -1"), ({"region_photos": 2.5}, "--region-photos 2.5"),
     ({"data": "nowhere"}, "--data nowhere: no such folder")],
)  # fmt: skip
def test_settings_out_of_range_are_told(data, changes, message):
    with pytest.raises(InputError, match=message):
        small(**({"data": data} | changes))


def test_what_is_absent_is_named(data, tmp_path):
    with pytest.raises(InputError, match="--stages probe: no such step"):
        run_cell(Cell("scrl", 0), tmp_path, small(data), Run(), ["probe"])
    with pytest.raises(InputError, match=r"method .scrll.: .*scrl"):
        run_cell(Cell("scrll", 0), tmp_path, small(data), Run())
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="voc_scenes: absent"):
        run_cell(Cell("scrl", 0), tmp_path, small(tmp_path / "data"), Run())
