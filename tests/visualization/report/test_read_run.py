"""What a report reads: logs of several processes joined, ends told from stops, scores told from other jsons."""
import json
import math
from datetime import timedelta
from pathlib import Path

import pytest

from mmsscl.errors import InputError
from mmsscl.visualization.report.chart import MOST_SERIES, Chart, Mark, draw, number
from mmsscl.visualization.report.curves import charts_of, limits_of
from mmsscl.visualization.report.facts import bad_photos, headline, warnings_of
from mmsscl.visualization.report.pictures import galleries_of
from mmsscl.visualization.report.progress import progress_of
from mmsscl.visualization.report.read_run import read_run
from mmsscl.visualization.report.read_scalars import Row, Series, join_rows, read_scalars
from mmsscl.visualization.report.results import find_results, last_validation

CONFIG = """train_cfg = dict(max_epochs={epochs}, type='EpochBasedTrainLoop')
train_dataloader = dict(batch_size=4, dataset=dict(type='CocoDataset', data_root='photos'))
model = dict(type='SCRL', backbone=dict(type='mmpretrain.ResNet', depth=18))
"""


def write_process(folder: Path, stamp: str, rows: list[dict], lines: list[str] = (), epochs: int = 4) -> None:
    data = folder / stamp / "vis_data"
    data.mkdir(parents=True)
    (data / "scalars.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (data / "config.py").write_text(CONFIG.format(epochs=epochs))
    (folder / stamp / f"{stamp}.log").write_text("".join(f"{line}\n" for line in lines))


def train_row(iteration: int, epoch: int = 1, **values: float) -> dict:
    return dict(dict(loss=1.0 / iteration), **values, epoch=epoch, iter=iteration, step=iteration)


def line(minute: int, text: str, level: str = "INFO") -> str:
    return f"2025/01/31 12:{minute:02}:00 - mmengine - {level} - {text}"


def test_a_resumed_run_is_joined_and_what_was_lost_is_not_drawn(tmp_path: Path) -> None:
    first = [train_row(at, epoch=(at - 1) // 10 + 1) for at in range(5, 31, 5)]
    write_process(tmp_path, "20250131_120000", first, [line(0, "begin"), line(9, "Saving checkpoint at 2 epochs")])
    second = [train_row(25, 3, loss=7.0), train_row(30, 3, loss=8.0)]
    write_process(
        tmp_path, "20250131_123000", second,
        [line(30, "resumed epoch: 2, iter: 20"), line(31, "Epoch(train) [3][ 5/10]  loss: 7"), line(35, "x")],
    )  # fmt: skip
    run = read_run(tmp_path)
    loss = run.figures("train")["loss"]
    assert loss.iterations == [5, 10, 15, 20, 25, 30]
    assert loss.values[-2:] == [7.0, 8.0]
    assert run.resumes == [20]
    assert [process.lost for process in run.processes] == [2, 0]
    assert [process.duration for process in run.processes] == [timedelta(minutes=9), timedelta(minutes=5)]


def test_a_run_begun_anew_replaces_the_one_before() -> None:
    rows = [[Row(at, 1, "train", {"loss": float(source)}) for at in (1, 2, 3)] for source in range(3)]
    joined, lost = join_rows([(None, rows[0]), (2, rows[1][2:]), (None, rows[2])])
    assert [row.values["loss"] for row in joined] == [2.0, 2.0, 2.0]
    assert lost == [3, 1, 0]


def test_tests_and_torn_lines_do_not_disturb(tmp_path: Path) -> None:
    write_process(tmp_path, "20250131_120000", [train_row(1), train_row(2)])
    file = tmp_path / "20250131_120000" / "vis_data" / "scalars.json"
    file.write_text(file.read_text() + '[1]\n{"loss": NaN, "iter": 3, "epoch": 1}\n{"loss": 0.3, "it')
    write_process(tmp_path, "20250131_130000", [], [line(0, "a test")])
    run = read_run(tmp_path)
    assert [row.iteration for row in run.rows] == [1, 2, 3]
    assert math.isnan(run.figures("train")["loss"].values[-1])
    assert run.newest.name == "20250131_120000"


def test_validations_and_probes_are_placed_among_the_iterations(tmp_path: Path) -> None:
    rows = [train_row(50), {"coco/bbox_mAP": 0.1, "step": 1}, {"knn_top1": 9.0, "probe_seconds": 3.0, "step": 57}]
    file = tmp_path / "scalars.json"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [(row.kind, row.iteration) for row in read_scalars(file)] == [("train", 50), ("val", 50), ("probe", 57)]


@pytest.mark.parametrize(
    ("lines", "told", "ended"),
    [
        ([line(0, "Epoch(train) [4][10/10]"), line(1, "Saving checkpoint at 4 epochs")], "ended", True),
        ([line(1, "Saving checkpoint at 3 epochs")], "not ended; last heard of 2025-01-31 12:01", False),
        ([line(1, "SIGTERM: saved x and leaving with exit code 75. Go on with --resume.", "WARNING")],
         "stopped by a signal, saved; goes on with --resume", False),
        ([], "not ended", False),
    ],
)  # fmt: skip
def test_progress(tmp_path: Path, lines: list[str], told: str, ended: bool) -> None:
    write_process(tmp_path, "20250131_120000", [train_row(30, 3), train_row(35, 4)], lines)
    progress = progress_of(read_run(tmp_path))
    assert (progress.told, progress.ended) == (told, ended)
    assert (progress.done, progress.planned, progress.unit) == (4 if ended else 3, 4, "epochs")


def test_missing_folders_and_folders_without_logs_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_run(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        read_run(tmp_path / "file")
    write_process(tmp_path / "cell" / "detection", "20250131_120000", [train_row(1)])
    with pytest.raises(InputError, match=r"holds no logs.*Runs inside it: detection\."):
        read_run(tmp_path / "cell")


def test_warnings_that_differ_in_numbers_are_one_and_mmengines_are_left_out(tmp_path: Path) -> None:
    lines = [
        line(1, "loss: the loss is nan in iteration 7", "WARNING"),
        line(3, "loss: the loss is nan in iteration 9", "WARNING"),
        line(2, "disk full", "ERROR"), line(4, '"FileClient" will be deprecated in future.', "WARNING"),
    ]  # fmt: skip
    write_process(tmp_path, "20250131_120000", [train_row(1)], lines)
    warned, left = warnings_of(read_run(tmp_path))
    assert [(each.text, each.level, each.often) for each in warned] == [
        ("loss: the loss is nan in iteration 9", "WARNING", 2), ("disk full", "ERROR", 1),
    ]  # fmt: skip
    assert left == 1
    (tmp_path / "bad_photos.txt").write_bytes(b"a\xff.jpg\ttorn\n")
    assert bad_photos(read_run(tmp_path)) == ["a\udcff.jpg: torn"]


def test_every_figure_has_a_chart_and_only_one(tmp_path: Path) -> None:
    names = ["loss", "loss_a", "s0.loss_cls", "lr", "base_lr", "momentum_target", "time", "data_time", "memory", "acc",
             "projection_std", "local_positive_cosine", "boxes_per_image", "grad_norm", "saliency_seconds"]  # fmt: skip
    row = dict.fromkeys(names, 0.5)
    write_process(tmp_path, "20250131_120000", [train_row(1, **row), train_row(2, **(row | {"grad_norm": math.inf}))])
    sections = charts_of(read_run(tmp_path))
    drawn = [name for charts in sections.values() for chart in charts for name in chart.series]
    renamed = {"images/s": "time", "data wait": "data_time"}
    assert sorted(renamed.get(name, name) for name in drawn) == sorted(names)
    assert [chart.title for chart in sections["Other figures"]] == ["grad_norm"]
    speed = next(chart for chart in sections["Speed and memory"] if chart.title == "Throughput")
    assert speed.series["images/s"].values == [8.0, 8.0]  # 4 photos in half a second


def test_limits_come_from_the_runs_hook() -> None:
    hook = {"type": "mmsscl.CollapseMonitorHook", "least_std": 0.6, "unknown": 1}
    assert limits_of([{"type": "TimerHook"}, hook])["least_std"] == 0.6
    assert limits_of([])["least_std"] == 0.3


def test_the_headline_says_collapse_and_values_that_are_no_numbers(tmp_path: Path) -> None:
    rows = [train_row(at, loss=math.nan if at > 2 else 1.0, projection_std=0.01) for at in range(1, 5)]
    write_process(tmp_path, "20250131_120000", rows)
    facts = {fact.name: fact for fact in headline(read_run(tmp_path))}
    assert (facts["Loss"].value, facts["Loss"].more, facts["Loss"].state) == ("-", "2 of 4 logged values not finite", "bad")
    assert (facts["projection_std"].state, facts["projection_std"].more) == ("bad", "collapsed (limit 0.3)")
    assert facts["Method"].more == "ResNet 18"


def test_a_chart_leaves_gaps_keeps_peaks_and_draws_limits() -> None:
    values = [0.5] * 5000
    values[1234], values[3000:3100] = 9.0, [math.nan] * 100
    series = Series(list(range(5000)), [None] * 5000, values)
    svg, hover = draw(Chart("a<b", {"x&y": series}, marks=[Mark(0.55, False, "low"), Mark(99.0, True, "outside")]))
    assert svg.count("<polyline") == 2
    assert "9" in hover["series"][0]["value"]
    assert len(hover["series"][0]["value"]) < 500
    assert "low" in svg
    assert "outside" not in svg
    assert 'aria-label="a&lt;b: x&amp;y over 4,999 iterations"' in svg
    alone, _ = draw(Chart("one", {"x": Series([3], [1], [2.0])}))
    assert "<circle" in alone
    assert not Chart("none", {"x": Series([1], [1], [math.nan])}).drawable


@pytest.mark.parametrize(
    ("value", "text"), [(0.00029368, "0.0002937"), (12345.6, "12,346"), (math.inf, "-"), (0.999997, "0.999997"), (1.0, "1")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_more_losses_than_a_chart_takes_are_split(tmp_path: Path) -> None:
    row = {f"loss_{index}": 1.0 for index in range(MOST_SERIES + 3)}
    write_process(tmp_path, "20250131_120000", [train_row(1, **row), train_row(2, **row)])
    charts = charts_of(read_run(tmp_path))["Learning"]
    assert [(chart.title, len(chart.series)) for chart in charts] == [("Loss (1 of 2)", 8), ("Loss (2 of 2)", 4)]


def test_scores_are_found_and_other_jsons_are_not(tmp_path: Path) -> None:
    write_process(tmp_path, "20250131_120000", [train_row(50), {"coco/bbox_mAP": 0.25, "time": 1.0, "step": 0}])
    metrics = {"coco/bbox_mAP": 0.25}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "20250131_120000" / "test.json").write_text(json.dumps(metrics | {"time": 0.1}))
    (tmp_path / "knn_scores.json").write_text(json.dumps({"measure": "knn", "scores": {"a": {"k=20 top-1": 13.0}}}))
    regions = {"rows": [{"name": "backbone", "photo": {"top1": 0.5}, "sizes": {"small": {"photo": 1}}}]}
    (tmp_path / "regions_scores.json").write_text(json.dumps(regions))
    for name, text in (("other", '{"images": []}'), ("list", "[1]"), ("torn", "{"), ("none", "{}")):
        (tmp_path / f"{name}.json").write_text(text)
    tables = {table.name: table.rows for table in find_results(tmp_path)}
    assert tables == {
        "knn_scores.json": {"a": {"k=20 top-1": 13.0}}, "metrics.json": {"": metrics},
        "regions_scores.json": {"backbone": {"photo top1": 0.5}},
    }  # fmt: skip
    assert last_validation(read_run(tmp_path))[0].rows == {"": metrics}
    with pytest.raises(InputError, match="no such file"):
        find_results(tmp_path, [str(tmp_path / "absent.json")])
    with pytest.raises(InputError, match="holds no scores"):
        find_results(tmp_path, [str(tmp_path / "other.json")])


@pytest.mark.parametrize(
    "config",
    ["model = None\ntrain_cfg = 3\ntrain_dataloader = [1]\ncustom_hooks = 'x'\ndefault_hooks = None",
     "custom_hooks = [None]",
     "train_dataloader = dict(batch_size='x', dataset=dict(type='A', sources=[1], data_prefix=3))", "x = (", ""],
)  # fmt: skip
def test_any_config_can_be_told_of(tmp_path: Path, config: str) -> None:
    write_process(tmp_path, "20250131_120000", [train_row(1, projection_std=0.5)])
    (tmp_path / "20250131_120000" / "vis_data" / "config.py").write_text(config)
    run = read_run(tmp_path)
    assert bool(run.config_problem) == (config == "x = (")
    assert {fact.name for fact in headline(run)} >= {"Progress", "Loss", "projection_std"}
    assert charts_of(run)
    assert galleries_of(run) == []
