"""The page of real small runs: whole, escaped, without addresses; in a real browser without errors."""
import base64
import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmsscl import cli
from mmsscl.checkout import commit_of_checkout
from mmsscl.engine.train import train
from mmsscl.errors import InputError
from mmsscl.visualization.report import write_report
from mmsscl.visualization.report.feature_colors import feature_colors
from mmsscl.visualization.report.page import script_json
from tests.sample_runs import GUIDED, NARROW, write_pretraining_config

BROWSER = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
NASTY = "</script><img src=x onerror=alert(1)>"
PROBE = """<script>
addEventListener("error", (event) => { document.body.dataset.error = event.message; });
addEventListener("securitypolicyviolation", (event) => { document.body.dataset.error = event.violatedDirective; });
addEventListener("load", () => {
  const sections = {};
  for (const each of document.querySelectorAll("section")) sections[each.dataset.title] = each.offsetHeight;
  const svg = document.querySelector("figure svg"), box = svg.getBoundingClientRect();
  const at = { clientX: box.left + box.width * 0.9, clientY: box.top + 20, bubbles: true };
  svg.dispatchEvent(new PointerEvent("pointermove", at));
  const tip = document.getElementById("tip");
  document.body.dataset.seen = JSON.stringify({
    sections, tip: tip.hidden ? "" : tip.textContent,
    broken: [...document.images].filter((image) => image.src && !image.naturalWidth).length,
    wide: document.documentElement.scrollWidth > innerWidth,
  });
});
</script>"""


@pytest.fixture(scope="module")
def work_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A guided run of five epochs, resumed after the third; its config names something nasty."""
    folder = tmp_path_factory.mktemp("run")
    config = write_pretraining_config(folder, more=NARROW + GUIDED + f'experiment_name = "{NASTY}".replace("/", "|")\n')
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(config, work_dir=str(folder / "work"), options={"train_cfg.max_epochs": 3})
        train(config, work_dir=str(folder / "work"), options={"train_cfg.max_epochs": 5}, resume="auto")
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
    assert "iteration 6" in read.sections["Starts"]
    assert "Not drawn" not in "".join(read.sections.values())
    sources = [str(attributes.get("src")) for tag, attributes in read.tags if tag == "img"]
    assert sum(source.startswith("data:image/jpeg") for source in sources) == 6
    assert f">commit {commit_of_checkout() or 'unknown'}<" in report.read_text("utf-8")
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


@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_every_section(report: Path, tmp_path: Path, width: int) -> None:
    if BROWSER is None:
        pytest.skip("no browser here (Debian: apt-get install chromium)")
    probed = tmp_path / "probed.html"
    text = report.read_text("utf-8")
    probed.write_text(text.replace("<title>", f"{PROBE}<title>", 1), "utf-8")
    run = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
         "--enable-logging=stderr", f"--window-size={width},900", probed.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "CONSOLE" not in run.stderr, run.stderr
    body = next(attributes for tag, attributes in Reader(run.stdout).tags if tag == "body")
    assert "data-error" not in body
    seen = json.loads(str(body["data-seen"]))
    assert list(seen["sections"]) == list(Reader(text).sections)
    assert min(seen["sections"].values()) > 40
    assert re.match(r"iteration (9, epoch 5|10, epoch 5)loss", seen["tip"])
    assert seen["broken"] == 0
    assert not seen["wide"]


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
    assert "Matched boxes" not in Reader(write_report(moved, photos=0).read_text("utf-8")).sections


def test_without_a_config_there_are_curves(work_dir: Path, tmp_path: Path) -> None:
    moved = tmp_path / "bare"
    shutil.copytree(work_dir, moved, ignore=shutil.ignore_patterns("*.pth", "*.py", "*.log"))
    sections = Reader(write_report(moved).read_text("utf-8")).sections
    assert "There is none: the run left no config" in sections["Config"]
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


def test_pictures_of_a_guided_run_show_each_refresh(work_dir: Path) -> None:
    from mmsscl.visualization.report.pictures import galleries_of
    from mmsscl.visualization.report.read_run import read_run

    saliency = next(gallery for gallery in galleries_of(read_run(work_dir), 1) if gallery.title == "Saliency")
    pixels = np.frombuffer(base64.b64decode(saliency.pictures[0].address.partition(",")[2]), np.uint8)
    width = cv2.imdecode(pixels, cv2.IMREAD_COLOR).shape[1]
    # the photo and the maps of two refreshes, square and 240 px high
    assert width > 3 * 240
