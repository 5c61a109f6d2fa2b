"""The page of real small runs: whole, escaped, without addresses; in a real browser without errors."""
import base64
import html.parser
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmsscl import cli
from mmsscl.checkout import commit_of_checkout
from mmsscl.datasets.scene_images import SceneImages
from mmsscl.engine.train import train
from mmsscl.errors import InputError
from mmsscl.saliency.fingerprint import dataset_fingerprint
from mmsscl.saliency.history import append_history
from mmsscl.visualization.report.feature_colors import feature_colors
from mmsscl.visualization.report.page import script_json
from mmsscl.visualization.report.pictures import galleries_of
from mmsscl.visualization.report.read_run import read_run
from mmsscl.visualization.report.write_report import write_report
from tests.sample_runs import GUIDED, NARROW, write_pretraining_config

BROWSER = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
NASTY = "</script><img src=x onerror=alert(1)>"
PROBE = """<script>
addEventListener("error", (event) => { parent.postMessage({ error: event.message }, "*"); });
addEventListener("securitypolicyviolation", (event) => { parent.postMessage({ error: event.violatedDirective }, "*"); });
addEventListener("load", () => {
  const sections = {};
  for (const each of document.querySelectorAll("section")) sections[each.dataset.title] = each.offsetHeight;
  const svg = document.querySelector("figure svg"), box = svg.getBoundingClientRect();
  const at = { clientX: box.left + box.width * 0.9, clientY: box.top + 20, bubbles: true };
  svg.dispatchEvent(new PointerEvent("pointermove", at));
  const tip = document.getElementById("tip");
  const seen = JSON.stringify({
    width: innerWidth, sections, tip: tip.hidden ? "" : tip.textContent,
    broken: [...document.images].filter((image) => image.src && !image.naturalWidth).length,
    wide: document.documentElement.scrollWidth > innerWidth,
  });
  parent.postMessage({ seen }, "*");
});
</script>"""
FRAME = """<!doctype html><body style="margin: 0"><script>
addEventListener("message", (event) => { Object.assign(document.body.dataset, event.data); });
</script><iframe src="probed.html" style="border: 0; width: WIDTHpx; height: 900px"></iframe></body>"""


@pytest.fixture(scope="module")
def work_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A guided run of three epochs, resumed after the second; its config names something nasty."""
    folder = tmp_path_factory.mktemp("run")
    config = write_pretraining_config(folder, more=NARROW + GUIDED + f'experiment_name = "{NASTY}".replace("/", "|")\n')
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(config, work_dir=str(folder / "work"), options={"train_cfg.max_epochs": 2})
        train(config, work_dir=str(folder / "work"), options={"train_cfg.max_epochs": 3}, resume="auto")
    finally:
        torch.set_num_threads(threads)
    return folder / "work"


@pytest.fixture(scope="module")
def report(work_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    (work_dir / "metrics.json").write_text(json.dumps({f"coco/{NASTY}": 0.5}))
    (work_dir / "bad_photos.txt").write_bytes(b"photos/\xff<b>.jpg\tis damaged\n")
    return write_report(work_dir, tmp_path_factory.mktemp("out") / "report.html", photos=2)


class Reader(html.parser.HTMLParser):
    """Sections with their text, and every tag's attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: dict[str, str] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.title = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self.title = str(dict(attrs)["data-title"])
            self.sections[self.title] = ""

    def handle_data(self, data: str) -> None:
        if self.title:
            self.sections[self.title] += data


def test_the_page_holds_what_the_run_has(report: Path) -> None:
    read = Reader(report.read_text("utf-8"))
    assert list(read.sections) == [
        "Learning", "Monitors", "Speed and memory", "Starts", "Matched boxes", "Saliency", "Feature colours",
        "Results", "Warnings", "All figures", "Versions", "Config",
    ]  # fmt: skip
    assert "iteration 4" in read.sections["Starts"]
    assert "Not drawn" not in "".join(read.sections.values())
    sources = [str(attributes.get("src")) for tag, attributes in read.tags if tag == "img"]
    assert sum(source.startswith("data:image/jpeg") for source in sources) == 6
    assert f">commit {commit_of_checkout() or 'unknown'}<" in report.read_text("utf-8")
    assert all(name in read.sections["Versions"] for name in ("numpy", "mmpretrain", "mmcv", "mmdet"))
    assert f"coco/{NASTY}" in read.sections["Results"]
    assert "photos/\\udcff<b>.jpg: is damaged" in read.sections["Warnings"]


def test_nothing_on_the_page_reaches_out_or_escapes(report: Path) -> None:
    text = report.read_text("utf-8")
    read = Reader(text)
    for tag, attributes in read.tags:
        assert tag not in ("link", "iframe", "object", "base")
        assert attributes.get("src", "data:").startswith("data:")
        assert "href" not in attributes
        assert not any(name.startswith("on") for name in attributes)
    assert "http" not in re.sub(r"<pre>.*?</pre>|<meta [^>]*>", "", text, flags=re.DOTALL)
    assert sum(tag == "script" for tag, _ in read.tags) == 2
    assert script_json([NASTY]).count("<") == 0
    assert json.loads(script_json([NASTY])) == [NASTY]


@pytest.fixture(scope="module")
def browse(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A browser that loads a page; returns its DOM."""
    if BROWSER is None:
        pytest.skip("no browser here (Debian: apt-get install chromium)")
    profile = tmp_path_factory.mktemp("profile")

    def load(page: Path, *options: str) -> str:
        run = subprocess.run(
            [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--dump-dom",
             "--enable-logging=stderr", "--window-size=1280,900", *options, page.as_uri()],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert "CONSOLE" not in run.stderr, run.stderr
        return run.stdout

    return load


@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_every_section(report: Path, tmp_path: Path, browse: Callable[..., str], width: int) -> None:
    text = report.read_text("utf-8")
    (tmp_path / "probed.html").write_text(text.replace("<title>", f"{PROBE}<title>", 1), "utf-8")
    # a window is never narrower than 500 px
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.replace("WIDTH", str(width)), "utf-8")
    dom, picture = browse(frame, f"--screenshot={tmp_path / 'page.png'}"), tmp_path / "page.png"
    body = next(attributes for tag, attributes in Reader(dom).tags if tag == "body")
    assert "data-error" not in body
    seen = json.loads(str(body["data-seen"]))
    assert seen["width"] == width
    assert list(seen["sections"]) == list(Reader(text).sections)
    assert min(seen["sections"].values()) > 40
    assert re.match(r"iteration [56], epoch 3loss", seen["tip"])
    assert seen["broken"] == 0
    assert not seen["wide"]
    assert cv2.imread(str(picture))[:, :width].std() > 10


def test_curves_alone_where_photos_and_checkpoints_are_gone(work_dir: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(work_dir, moved, ignore=shutil.ignore_patterns("*.pth", "last_checkpoint", "*.npz", "*.bin"))
    for config in moved.rglob("config.py"):
        text = config.read_text().replace(str(work_dir.parent / "photos"), str(tmp_path / "gone"))
        config.write_text(f"{text}\nnote = {NASTY!r}\n")
    sections = Reader(write_report(moved, photos=1).read_text("utf-8")).sections
    assert "gone" in sections["Matched boxes"]
    assert "Not drawn" in sections["Saliency"]
    assert "holds no checkpoint" in sections["Feature colours"]
    assert (moved / "report.html").is_file()
    assert f"note = {NASTY!r}" in sections["Config"]
    (next(iter(sorted(moved.glob("2*")))) / "vis_data" / "config.py").unlink()
    sections = Reader(write_report(moved, photos=0).read_text("utf-8")).sections
    assert sections["Pictures"].endswith("feature colours: --photos 0.")


def test_without_a_config_there_are_curves(work_dir: Path, tmp_path: Path) -> None:
    moved = tmp_path / "bare"
    shutil.copytree(work_dir, moved, ignore=shutil.ignore_patterns("*.pth", "*.py", "*.log"))
    sections = Reader(write_report(moved).read_text("utf-8")).sections
    assert "There is none: the run left no config" in sections["Config"]
    assert "the run left no config" in sections["Pictures"]
    assert "left no text log" in sections["Versions"]
    assert "Loss" in sections["Learning"]


def test_the_verb(work_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a" / "page.html"
    assert cli.main(["report", str(work_dir), "--out", str(out), "--photos", "0"]) == 0
    assert capsys.readouterr().out.endswith(f"{out}: {out.stat().st_size / 1e6:.1f} MB\n")
    for words, message in (
        ([str(work_dir), "--photos", "-1"], "--photos -1"), ([str(work_dir), "--out", str(tmp_path)], "is a folder"),
        ([str(tmp_path / "absent")], "no such folder"),
    ):  # fmt: skip
        assert cli.main(["report", *words]) == 2
        assert message in capsys.readouterr().err


def test_an_unwritable_place_is_told_before_anything_is_drawn(
    work_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(write_report.__globals__, "galleries_of", lambda *_: pytest.fail("drawn"))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--out: .*file cannot be written to"):
        write_report(work_dir, tmp_path / "file" / "report.html")


@pytest.mark.parametrize("error", [IndexError, ImportError, MemoryError])
def test_pictures_that_fail_cost_the_pictures(
    work_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise error("a reason")

    monkeypatch.setattr("mmsscl.visualization.report.pictures._prepare", fail)
    sections = Reader(write_report(work_dir, tmp_path / "report.html", photos=1).read_text("utf-8")).sections
    assert "a reason" in sections["Saliency"]
    assert "Loss" in sections["Learning"]


def test_feature_colors_agree_with_sklearns_pca() -> None:
    from sklearn.decomposition import PCA

    generator = np.random.default_rng(0)
    basis = generator.normal(size=(6, 6)) * np.array([9, 5, 3, 0.5, 0.3, 0.1])[:, None]
    maps = [np.einsum("cd,chw->dhw", basis, generator.normal(size=(6, 5, width))) for width in (4, 7)]
    colors = feature_colors(maps)
    assert [each.shape for each in colors] == [(5, 4, 3), (5, 7, 3)]
    cells = np.concatenate([values.reshape(6, -1).T for values in maps])
    expected = PCA(3).fit_transform(cells)
    found = np.concatenate([each.reshape(-1, 3) for each in colors]).astype(float)
    for channel in range(3):
        assert abs(np.corrcoef(found[:, channel], expected[:, channel])[0, 1]) > 0.99
    assert feature_colors([np.ones((2, 3, 3))])[0].tolist() == [[[128] * 3] * 3] * 3
    with pytest.raises(InputError, match="not finite"):
        feature_colors([np.full((2, 3, 3), np.nan)])


def keep_history(work_dir: Path, photos: Path) -> None:
    """As a run with two refreshes leaves it; that of the fixture is too short for one."""
    fingerprint = dataset_fingerprint(SceneImages(data_root=str(photos), pipeline=[]))
    for epoch in (1, 2):
        maps = np.full((8, 6, 6), 100 * epoch, np.uint8)
        append_history(work_dir / "saliency_history.npz", fingerprint, epoch, maps, np.full(8, 255, np.uint8))


def test_pictures_of_a_guided_run_show_each_refresh(work_dir: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(work_dir, tmp_path / "moved")
    keep_history(moved, work_dir.parent / "photos")
    saliency = next(gallery for gallery in galleries_of(read_run(moved), 1) if gallery.title == "Saliency")
    pixels = np.frombuffer(base64.b64decode(saliency.pictures[0].address.partition(",")[2]), np.uint8)
    width = cv2.imdecode(pixels, cv2.IMREAD_COLOR).shape[1]
    # the photo and the maps of two refreshes, square and 240 px high
    assert width > 3 * 240


def test_pictures_are_not_those_of_an_earlier_run_in_the_folder(work_dir: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(work_dir, tmp_path / "anew", ignore=shutil.ignore_patterns("*.bin"))
    keep_history(moved, work_dir.parent / "photos")
    first = min(moved.glob("2*"))
    later = f"{int(first.name[:8]) + 10000}{first.name[8:]}"
    shutil.copytree(first, moved / later)
    for log in (moved / later).glob("*.log"):
        log.write_text("2031/01/01 00:00:00 - mmengine - INFO - begun anew\n")
    sections = Reader(write_report(moved, photos=1).read_text("utf-8")).sections
    assert "saliency_history.npz is of an earlier run" in sections["Saliency"]
    assert "nor a checkpoint of this run" in sections["Saliency"]
    assert "holds no checkpoint (epoch_*.pth or iter_*.pth) of this run" in sections["Feature colours"]
    assert "Of an earlier run in this folder, and left out: epoch_1.pth, " in sections["Feature colours"]


def test_a_copied_run_is_drawn_with_its_own_weights(work_dir: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(work_dir, tmp_path / "copied")
    (copied / "epoch_3.pth").unlink()
    colours = next(gallery for gallery in galleries_of(read_run(copied), 1) if gallery.title == "Feature colours")
    assert [picture.caption for picture in colours.pictures] == ["photo 0, epoch_2.pth"]


def test_a_damaged_photo_costs_that_photo(work_dir: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(work_dir, tmp_path / "work")
    photos = shutil.copytree(work_dir.parent / "photos", tmp_path / "photos")
    (photos / "0.jpg").write_bytes(b"torn")
    for config in moved.rglob("config.py"):
        config.write_text(config.read_text().replace(str(work_dir.parent / "photos"), str(photos)))
    for gallery in galleries_of(read_run(moved), 2):
        assert not gallery.problem
        assert [picture.caption.split(",")[0] for picture in gallery.pictures] == ["photo 1", "photo 7"]
        assert "0.jpg" in gallery.notes[0]
        assert len(gallery.notes) == 1
    for photo in photos.iterdir():
        photo.write_bytes(b"torn")
    assert "no photo can be read" in galleries_of(read_run(moved), 2)[0].problem
