"""The tools of tools/analysis: right numbers, whole pictures, one line for bad input."""
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision
from mmengine.config import Config
from sklearn.manifold import trustworthiness

from mmsscl.analysis import complexity, feature_tsne, plot_logs
from mmsscl.analysis.complexity import complexity_of, table
from mmsscl.analysis.feature_tsne import tsne
from mmsscl.analysis.plot_logs import draw_runs
from mmsscl.analysis.run_tool import run_tool
from mmsscl.engine.config import load_config
from mmsscl.errors import InputError
from mmsscl.registry import MODELS
from mmsscl.visualization.report.read_run import read_run
from tests.sample_runs import ROOT, write_checkpoint, write_photos

pytestmark = pytest.mark.usefixtures("one_thread")


def write_run(folder: Path, losses: list[float], key: str = "loss") -> Path:
    process = folder / "20250131_120000"
    (process / "vis_data").mkdir(parents=True)
    rows = [{key: loss, "lr": 0.1, "epoch": 1 + at // 2, "iter": at + 1} for at, loss in enumerate(losses)]
    (process / "vis_data" / "scalars.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (process / "a.log").write_text("2025/01/31 12:00:00 - mmengine - INFO - Epoch(train) [1][2/2]  loss: 1\n")
    return folder


def test_plots_hold_the_runs_figures(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / name, losses)) for name, losses in (("a", [3.0, 2.0]), ("b", [5.0, 4.0, 1.0]))]
    figure = draw_runs(runs, ["a", "b"], ["loss", "lr"], by="epoch")
    assert [axes.get_title() for axes in figure.axes] == ["loss", "lr"]
    lines = figure.axes[0].lines
    assert [line.get_label() for line in lines] == ["a", "b"]
    assert lines[1].get_ydata().tolist() == [5.0, 4.0, 1.0]
    assert lines[1].get_xdata().tolist() == [0.5, 1.0, 1.5]
    with pytest.raises(InputError, match=r"--keys los: none of the runs logged it\. Did you mean loss"):
        draw_runs(runs, ["a", "b"], ["los"])


def test_the_plotting_tool_runs_from_anywhere(tmp_path: Path) -> None:
    run, out = write_run(tmp_path / "a", [3.0, 2.0]), tmp_path / "new" / "plot.png"
    command = [sys.executable, str(ROOT / "tools/analysis/plot_logs.py"), str(run), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (0, f"{out}: 1 figure of 1 run\n"), done.stderr
    assert cv2.imread(str(out)).std() > 5


def test_epochs_are_those_of_the_process_that_did_them(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", [3.0, 2.0])
    later = folder / "20250131_130000"
    (later / "vis_data").mkdir(parents=True)
    (later / "vis_data" / "scalars.json").write_text('{"loss": 1.0, "epoch": 2, "iter": 4}\n')
    lines = ("resumed epoch: 1, iter: 2", "Epoch(train) [2][2/4]  loss: 1")
    (later / "a.log").write_text("".join(f"2025/01/31 13:00:00 - mmengine - INFO - {text}\n" for text in lines))
    line = draw_runs([read_run(folder)], ["a"], ["loss"], by="epoch").axes[0].lines[0]
    assert line.get_xdata().tolist() == [0.5, 1.0, 1.5]


def test_costs_are_those_of_the_papers_and_of_torchvision() -> None:
    found = complexity_of(load_config(ROOT / "configs" / "scrl_r50_coco.py"), (64, 64))
    wanted = torchvision.models.resnet50()
    by_name = {part.name: part for part in found.parts}
    assert by_name["backbone"].parameters == sum(each.numel() for each in wanted.parameters()) - 1000 * 2049
    assert by_name["target"].trained == 0
    assert by_name["target"].parameters == by_name["backbone"].parameters + by_name["neck"].parameters
    model = dict(type="ImageClassifier", backbone=dict(type="ResNet", depth=50))
    alone = complexity_of(Config(dict(default_scope="mmpretrain", model=model)))
    # 4.1 G in the ResNet papers' count
    assert alone.flops / 1e9 == pytest.approx(4.1, abs=0.05)
    assert "3 x 224 x 224: 4.1" in table(alone)
    assert found.flops == alone.flops * 64**2 // 224**2


def test_parameters_of_the_model_itself_are_counted() -> None:
    @MODELS.register_module(force=True)
    class HolderOfATest(torch.nn.Module):
        def __init__(self, backbone: dict) -> None:
            super().__init__()
            self.backbone, self.token = torch.nn.Conv2d(**backbone), torch.nn.Parameter(torch.zeros(7))

    model = dict(type="HolderOfATest", backbone=dict(in_channels=3, out_channels=2, kernel_size=1))
    found = complexity_of(Config(dict(model=model)), (4, 4))
    assert [(part.name, part.parameters) for part in found.parts] == [("backbone", 8), ("itself", 7)]


def test_costs_of_a_frozen_backbone_and_of_other_shapes() -> None:
    backbone = dict(type="ResNet", depth=18, frozen_stages=4)
    config = Config(dict(default_scope="mmpretrain", model=dict(type="ImageClassifier", backbone=backbone)))
    small, large = complexity_of(config, (64, 64)), complexity_of(config, (64, 128))
    assert small.parts[0].trained == 0
    assert large.flops == 2 * small.flops
    with pytest.raises(InputError, match=r"has no model\.backbone"):
        complexity_of(Config(dict(model=dict(type="SCRL"))))


def test_places_keep_neighbours_and_classes_apart() -> None:
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(3, 16)) * 4
    labels = np.repeat(np.arange(3), 20)
    # lengths must not matter, only directions
    features = (centres[labels] + generator.normal(size=(60, 16))) * generator.uniform(0.1, 10, (60, 1))
    places = tsne(features, perplexity=10)
    assert places.shape == (60, 2)
    assert np.array_equal(places, tsne(features, perplexity=10))
    assert trustworthiness(features / np.linalg.norm(features, axis=1, keepdims=True), places, n_neighbors=5) > 0.9
    middles = np.stack([places[labels == label].mean(0) for label in range(3)])
    nearest = np.linalg.norm(places[:, None] - middles, axis=2).argmin(1)
    assert (nearest == labels).mean() > 0.95
    with pytest.raises(InputError, match="--perplexity 60"):
        tsne(features, perplexity=60)


def test_the_tsne_tool_draws_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cat", "dog", "emu"):
        write_photos(tmp_path / "photos" / name, 4, 40)
    write_checkpoint(tmp_path / "epoch_1.pth")
    torch.manual_seed(0)
    words = [str(tmp_path / "epoch_1.pth"), "--photos", str(tmp_path / "photos"), "--size", "32", "--perplexity", "3",
             "--classes", "2", "--per-class", "3", "--out", str(tmp_path / "tsne.png")]  # fmt: skip
    for more in ([], ["--random"]):
        assert run_tool("t", feature_tsne.add_arguments, feature_tsne.main, [*words, *more]) == 0
        assert capsys.readouterr().out == f"{tmp_path / 'tsne.png'}: 6 photos of 2 classes\n"
        assert cv2.imread(str(tmp_path / "tsne.png")).std() > 5


@pytest.mark.parametrize(
    ("module", "words", "message"),
    [
        (plot_logs, ["absent", "--out", "a.png"], "error: work_dir absent: no such folder"),
        (plot_logs, ["a", "--out", "a.gif"], "error: --out a.gif: name a file that ends in .png"),
        (plot_logs, ["a", "b", "--labels", "x", "--out", "a.png"], "error: --labels: 1 names for 2 runs"),
        (complexity, ["absent.py"], "error: config absent.py: no such file"),
        (complexity, ["absent.py", "--shape", "1", "2", "3"], "error: --shape 1 2 3: give a side"),
        (feature_tsne, ["a.pth", "--photos", "absent", "--out", "a.png"], "error: absent: no such folder"),
        (feature_tsne, ["absent.pth", "--photos", "photos", "--perplexity", "9", "--out", "a.png"], "error: --perplexity 9"),
        (feature_tsne, ["a.pth", "--photos", "p", "--classes", "1", "--out", "a.png"], "error: --classes 1"),
    ],
)
def test_bad_input_is_one_line(module, words, message, capsys, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write_photos(tmp_path / "photos" / name, 2, 8)
    assert run_tool("t", module.add_arguments, module.main, words) == 2
    said = capsys.readouterr().err
    assert said.startswith(message)
    assert said.count("\n") == 1
