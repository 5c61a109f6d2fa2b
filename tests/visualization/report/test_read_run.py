"""What a report reads: logs of several processes joined, ends told from stops, scores told from other jsons."""
import json
import math
import re
from datetime import timedelta
from pathlib import Path

import pytest

from mmsscl.errors import InputError
from mmsscl.visualization.report.chart import MOST_SERIES, Chart, Mark, draw, number
from mmsscl.visualization.report.curves import charts_of, limits_of
from mmsscl.visualization.report.facts import bad_photos, headline, warnings_of
from mmsscl.visualization.report.page import page
from mmsscl.visualization.report.pictures import galleries_of
from mmsscl.visualization.report.progress import progress_of
from mmsscl.visualization.report.read_run import read_run
from mmsscl.visualization.report.read_scalars import Row, Series, join_rows, read_scalars
from mmsscl.visualization.report.results import ScoreTable, find_results, last_validation

CONFIG = """train_cfg = dict(max_epochs={epochs}, type='EpochBasedTrainLoop')
train_dataloader = dict(batch_size=4, dataset=dict(type='CocoDataset', data_root='photos'))
model = dict(type='SCRL', backbone=dict(type='mmpretrain.ResNet', depth=18))
"""


def write_process(
    folder: Path, stamp: str, rows: list[dict], lines: list[str] = (), epochs: int = 4, log: bool = True, ranks: int = 1
) -> None:
    data = folder / stamp / "vis_data"
    data.mkdir(parents=True)
    (data / "scalars.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (data / "config.py").write_text(CONFIG.format(epochs=epochs))
    if log:
        table = ["-" * 60, "Runtime environment:", f"    GPU number: {ranks}", "-" * 60]
        (folder / stamp / f"{stamp}.log").write_text("".join(f"{line}\n" for line in [*table, *lines]))


def train_rows(*iterations: int, **values: float) -> list[dict]:
    """Of epochs of ten iterations."""
    return [train_row(at, (at - 1) // 10 + 1, **values) for at in iterations]


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


ENDED = [line(5, "Epoch(train) [4][10/10] loss"), line(9, "Saving checkpoint at 4 epochs")]
SIGNAL = line(9, "SIGTERM: saved x and leaving with exit code 75. Go on with --resume.", "WARNING")


@pytest.mark.parametrize(
    ("first", "rows", "lines", "done", "told"),
    [
        (ENDED, train_rows(5), [line(30, "anew"), line(31, "Epoch(train) [1][ 5/10]")], 0, "not ended; last heard"),
        (ENDED, train_rows(15), [line(30, "resumed epoch: 1, iter: 10"), line(31, "x")], 1, "not ended"),
        (ENDED, [], [line(30, "resumed epoch: 4, iter: 40")], 4, "ended"),
        ([*ENDED[:1], SIGNAL], [], [line(30, "resumed epoch: 2, iter: 20"), line(31, "out of memory", "ERROR")], 2,
         "not ended; last heard of 2025-01-31 12:31"),
    ],
    ids=["anew", "resumed further back", "resumed at the end", "resumed, and failed before it logged"],
)  # fmt: skip
def test_progress_is_that_of_the_last_beginning(
    tmp_path: Path, first: list[str], rows: list[dict], lines: list[str], done: int, told: str
) -> None:
    write_process(tmp_path, "20250131_120000", train_rows(*range(5, 41, 5)), first)
    write_process(tmp_path, "20250131_123000", rows, lines)
    progress = progress_of(read_run(tmp_path))
    assert progress.done == done
    assert progress.told.startswith(told)


def test_duration_leaves_out_tests_and_what_was_begun_before(tmp_path: Path) -> None:
    for minute, rows in ((0, train_rows(5)), (20, train_rows(5)), (40, [])):
        write_process(tmp_path, f"20250131_12{minute:02}00", rows, [line(minute, "x"), line(minute + 7, "y")])
    facts = {fact.name: fact for fact in headline(read_run(tmp_path))}
    assert (facts["Duration"].value, facts["Duration"].more) == ("7 min 00 s", "from 2025-01-31 12:20")


def test_starts_and_throughput_of_each_process(tmp_path: Path) -> None:
    write_process(tmp_path, "20250131_120000", train_rows(5, 10, time=1.0), [line(0, "x")], ranks=8)
    write_process(tmp_path, "20250131_123000", train_rows(15, time=1.0), [line(30, "resumed epoch: 1, iter: 10")], ranks=2)
    run = read_run(tmp_path)
    speed = charts_of(run)["Speed and memory"][0]
    assert (speed.series["images/s"].values, speed.note) == ([32.0, 32.0, 8.0], "32 then 8 images an iteration.")
    assert b"<td>iteration 10</td>" in page(run, {}, [], [])


def test_without_a_text_log_the_number_of_gpus_is_not_guessed(tmp_path: Path) -> None:
    write_process(tmp_path, "20250131_120000", train_rows(*range(5, 31, 5), time=1.0), log=False)
    write_process(tmp_path, "20250131_130000", train_rows(25, 30, time=1.0), log=False)
    run = read_run(tmp_path)
    assert [chart.title for chart in charts_of(run)["Speed and memory"]] == ["Time of an iteration"]
    text = page(run, {}, [], []).decode()
    assert "<td>20250131_130000</td><td>iteration 24</td>" in text
    assert "left no text log" in text


def test_only_stamps_are_processes(tmp_path: Path) -> None:
    for name in ("20250131_120000", "20250131_120000_backup"):
        write_process(tmp_path, name, train_rows(1, 2))
    assert [process.name for process in read_run(tmp_path).processes] == ["20250131_120000"]


def test_data_wait_is_drawn_where_time_was_logged_too(tmp_path: Path) -> None:
    rows = [train_row(1, time=2.0, data_time=1.0), train_row(2, data_time=1.0), train_row(3, time=0.0, data_time=0.0)]
    write_process(tmp_path, "20250131_120000", rows)
    waits = next(chart for chart in charts_of(read_run(tmp_path))["Speed and memory"] if chart.title == "Data wait")
    assert waits.series["data wait"].values == [50.0]


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
    text = page(read_run(tmp_path), {}, [], [])
    assert b"more</p>" not in text
    (tmp_path / "bad_photos.txt").write_bytes(b"a\xff.jpg\ttorn\n")
    assert bad_photos(read_run(tmp_path)) == ["a\udcff.jpg: torn"]


def test_a_long_warning_is_kept_and_no_fact(tmp_path: Path) -> None:
    lines = [
        "    before: 1", line(1, "state dicts do not match", "WARNING"), "", "unexpected key: a", "    note: no fact",
        line(2, "more"), "    dict: of the config", line(3, "long", "WARNING"), *["x"] * 1000,
        line(4, "mmsscl 0.1.0, commit abc, onedl-mmcv 2.3.2, numpy 2.0"), line(4, "mmsscl saved it, 3 files"),
    ]  # fmt: skip
    write_process(tmp_path, "20250131_120000", train_rows(1), lines)
    run = read_run(tmp_path)
    newest, oldest = warnings_of(run)[0]
    assert oldest.text == "state dicts do not match\nunexpected key: a\n    note: no fact"
    assert newest.text.count("\n") == 20
    assert run.newest.log.facts == {
        "GPU number": "1", "mmsscl": "0.1.0", "commit": "abc", "onedl-mmcv": "2.3.2", "numpy": "2.0",
    }  # fmt: skip


def test_of_many_warnings_the_newest_are_shown(tmp_path: Path) -> None:
    lines = [line(index // 10, f"photo {'ab'[index % 2] * (index + 1)} is bad", "WARNING") for index in range(130)]
    write_process(tmp_path, "20250131_120000", train_rows(1), lines)
    text = page(read_run(tmp_path), {}, [], []).decode()
    assert text.count("is bad</td>") == 100
    assert "... and 30 more" in text


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("vis_data/scalars.json", f'{{"loss": {"9" * 400}, "iter": 2}}'),
        ("20250131_120000.log", "2025/13/45 12:00:00 - mmengine - INFO - x"),
    ],
)
def test_lines_that_are_not_mmengines_are_passed_over(tmp_path: Path, file: str, content: str) -> None:
    write_process(tmp_path, "20250131_120000", train_rows(1), [line(1, "x")])
    path = tmp_path / "20250131_120000" / file
    path.write_text(f"{content}\n{path.read_text()}{content}\n")
    run = read_run(tmp_path)
    assert len(run.rows) == 1
    assert run.newest.duration == timedelta(0)


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
    rows = [train_row(at, loss=math.nan if at > 502 else 1.0, projection_std=0.01) for at in range(501, 505)]
    write_process(tmp_path, "20250131_120000", rows)
    facts = {fact.name: fact for fact in headline(read_run(tmp_path))}
    assert (facts["Loss"].value, facts["Loss"].more, facts["Loss"].state) == ("-", "2 of 4 logged values not finite", "bad")
    assert (facts["projection_std"].state, facts["projection_std"].more) == ("bad", "collapsed (limit 0.3)")
    assert facts["Method"].more == "ResNet 18"


@pytest.mark.parametrize(
    ("spreads", "state", "told"),
    [
        ([0.1] * 99, "", "too early to tell, before iteration 500"),
        ([0.1] * 600, "bad", "collapsed (limit 0.3)"),
        ([0.9] * 590 + [0.1] * 10, "good", "healthy (limit 0.3)"),
    ],
)
def test_the_headline_judges_as_the_monitor_does(tmp_path: Path, spreads: list[float], state: str, told: str) -> None:
    write_process(tmp_path, "20250131_120000", [train_row(at, projection_std=each) for at, each in enumerate(spreads, 1)])
    fact = next(fact for fact in headline(read_run(tmp_path)) if fact.name == "projection_std")
    assert (fact.state, fact.more) == (state, told)


@pytest.mark.parametrize("row", [{"data_time": 0.1, "time": 0.2}, {"probe_seconds": 3.0}])
def test_the_headline_shows_a_score_and_no_cost(tmp_path: Path, row: dict[str, float]) -> None:
    name = "knn_top1" if "probe_seconds" in row else "coco/bbox_mAP"
    write_process(tmp_path, "20250131_120000", [*train_rows(1), {**row, name: 0.3, "step": 1}])
    facts = {fact.name: fact.value for fact in headline(read_run(tmp_path))}
    assert facts[name] == "0.3"
    assert not facts.keys() & row.keys()


@pytest.mark.parametrize(
    "values",
    [(0.5, 0.5), (0, 0), (0.99, 0.99), (0.996, 0.99600001), (0.99611, 0.99612), (12345.1, 12345.9), (1e6, 1e6 + 3),
     (5e8, 6e8), (1e-30, 2e-30), (1e300, -1e300), (-0.2, 0.2), (3e-4, 1e-5)],
)  # fmt: skip
def test_labels_of_an_axis_are_distinct_and_short(values: tuple[float, float]) -> None:
    svg, _ = draw(Chart("a", {"x": Series([1, 2], [1, 1], list(values))}))
    labels = re.findall(r'x="56" y="[\d.]+" text-anchor="end">(.*?)<', svg)
    assert len(set(labels)) == len(labels) >= 3
    # what fits beside the chart
    assert max(map(len, labels)) <= 9
    low, high = (float(label.replace(",", "")) for label in (labels[0], labels[-1]))
    assert low <= min(values) * (1 + 1e-9) or low <= min(values)
    assert high >= max(values) * (1 - 1e-9) or high >= max(values)
    assert ">iterations<" in svg


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
    ("value", "text"), [(0.00029368, "0.0002937"), (12345.6, "12,346"), (math.inf, "-"), (0.999997, "0.999997"), (1.0, "1"),
                        (1e300, "1e+300"), (1.1e-16, "0")]
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
    (tmp_path / "again.json").write_text(json.dumps(metrics))
    for name, text in (
        ("other", '{"images": []}'), ("list", "[1]"), ("torn", "{"), ("none", "{}"), ("labels", '{"cat": 0, "dog": 1}'),
    ):  # fmt: skip
        (tmp_path / f"{name}.json").write_text(text)
    tables = {table.name: table.rows for table in find_results(tmp_path)}
    assert tables == {
        "knn_scores.json": {"a": {"k=20 top-1": 13.0}}, "metrics.json": {"": metrics},
        "regions_scores.json": {"backbone": {"photo top1": 0.5}}, "again.json": {"": metrics},
    }  # fmt: skip
    assert last_validation(read_run(tmp_path))[0].rows == {"": metrics}
    with pytest.raises(InputError, match="no such file"):
        find_results(tmp_path, [str(tmp_path / "absent.json")])
    with pytest.raises(InputError, match="holds no scores"):
        find_results(tmp_path, [str(tmp_path / "other.json")])
    (tmp_path / "big.json").write_text(json.dumps(metrics) + " " * (5 << 20))
    with pytest.raises(InputError, match="is above 4 MB"):
        find_results(tmp_path, [str(tmp_path / "big.json")])


def test_of_many_files_of_scores_the_first_are_shown(tmp_path: Path) -> None:
    write_process(tmp_path, "20250131_120000", train_rows(1))
    tables = [ScoreTable(f"r{index}.json", {"": {"coco/bbox_mAP": 0.5}}) for index in range(30)]
    text = page(read_run(tmp_path), {}, [], tables).decode()
    assert text.count("coco/bbox_mAP") == 24
    assert "... and 6 more" in text
    assert "No file of scores" in page(read_run(tmp_path), {}, [], []).decode()


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
    assert bool(run.config.problem) == (config == "x = (")
    assert {fact.name for fact in headline(run)} >= {"Progress", "Loss", "projection_std"}
    assert charts_of(run)
    assert [gallery.title for gallery in galleries_of(run)] == ["Pictures"]
