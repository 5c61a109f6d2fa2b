"""What the pages show: commands are parsed, configs and options looked up, Python blocks run."""
import argparse
import ast
import importlib
import re
import shlex
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import VISBACKENDS

from mmsscl.cli.program import VERBS, build_parser
from mmsscl.engine.config import load_config
from mmsscl.registry import MODELS
from tests.sample_runs import ROOT

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
TOOLS = {"export_backbone": ["export"], **{name: ["eval", name] for name in ("knn", "linear", "svm")}}
LAUNCHERS = {"tools/dist_train.sh": 1, "tools/slurm_train.sh": 2}


def commands():
    """Page and words of each command of ours in the pages' shell and text blocks."""
    for page in PAGES:
        for language, block in BLOCK.findall(page.read_text()):
            if language not in ("bash", "text", "console"):
                continue
            for line in re.sub(r"\\\n\s*", " ", block).splitlines():
                line = re.sub(r"\$\([^)]*\)", "FILE", line.removeprefix("$ ").strip())
                if re.match(r"(PYTHONPATH=\. )?(mmsscl|python tools/|bash tools/)", line) and "..." not in line:
                    words = shlex.split(line, comments=True)
                    yield page.name, words[1:] if "=" in words[0] else words


COMMANDS = list(commands())


def as_verb(words):
    """Words after ``mmsscl``, where a tool or a launcher is a verb; else None."""
    if words[0] == "mmsscl":
        return words[1:]
    tool, rest = words[1], words[2:]
    if tool in LAUNCHERS:
        number = LAUNCHERS[tool]
        return ["train", *rest[:1], *rest[1 + number :]] if number == 1 else ["train", *rest[2:]]
    stem = tool.rpartition("/")[2].removesuffix(".py")
    verb = TOOLS.get(stem, stem.split("_"))
    if tool == "tools/benchmark/scene_bench.py":
        return ["bench", *rest]
    return [*verb, *rest] if tool.count("/") == 1 and verb[0] in VERBS else None


@cache
def loaded(config, options):
    """A config with the options that ``options`` reads as, loaded once."""
    return load_config(config, ast.literal_eval(options))


def assert_schedule_fits(config):
    loop, schedulers = config.get("train_cfg") or {}, config.get("param_scheduler") or []
    if schedulers and "max_epochs" in loop and schedulers[-1].get("by_epoch", True):
        assert schedulers[-1].get("end", loop.max_epochs) == loop.max_epochs


def test_the_pages_hold_commands_of_every_verb():
    assert len(COMMANDS) > 40
    shown = {words[1] for _, words in COMMANDS if words[0] == "mmsscl"}
    assert shown >= {"train", "test", "predict", "export", "browse", "eval", "doctor", "shards"}


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[f"{page}: {' '.join(words)[:60]}" for page, words in COMMANDS])
def test_a_command_can_be_typed(page, words, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(argparse.ArgumentParser, "exit", lambda self, status=0, message="": pytest.fail(message))
    verb = as_verb(words)
    if verb is None:
        script = ROOT / words[1]
        assert script.is_file()
        text = script.read_text() + "".join(
            module.read_text()
            for name in re.findall(r"from (mmsscl\.\S+) import (\w+)", script.read_text())
            for module in (ROOT / Path(*name[0].split(".")) / f"{name[1]}.py", ROOT / f"{name[0].replace('.', '/')}.py")
            if module.is_file()
        )
        for word in words[2:]:
            assert not word.startswith("--") or f'"{word}"' in text or "$@" in text, word
        return
    options = build_parser().parse_args(verb)
    config = getattr(options, "config", None)
    if config and config.startswith("configs/"):
        assert_schedule_fits(loaded(config, repr(getattr(options, "cfg_options", None))))
    elif config:
        assert config.isupper() or config.endswith(".py")


PYTHON = [(page.name, text) for page in PAGES for language, text in BLOCK.findall(page.read_text()) if language == "python"]


@pytest.mark.parametrize(("page", "block"), PYTHON, ids=[f"{page}: {block.splitlines()[0][:40]}" for page, block in PYTHON])
def test_python_is_python_and_imports_what_there_is(page, block):
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("mmsscl"):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, name.name) for name in node.names)


def test_the_backends_of_the_reports_page_exist():
    block = next(block for page, block in PYTHON if page == "report.md")
    backends = Config.fromstring(block, ".py").visualizer.vis_backends
    assert all(backend.type in VISBACKENDS for backend in backends)


@pytest.fixture
def written(tmp_path, monkeypatch, request):
    """A page's blocks that name a file, written into a folder that Python searches."""
    text = (ROOT / "docs" / request.param).read_text()
    for language, block in BLOCK.findall(text):
        name = re.match(r"# file: (\S+)\n", block)
        if language == "python" and name:
            # that mmsscl:: is found is for tests/test_packaging.py, which installs the package
            (tmp_path / name[1]).write_text(block.replace("mmsscl::", f"{ROOT}/configs/"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("spread_head", None)
    importlib.invalidate_caches()


@pytest.mark.parametrize("written", ["configs.md"], indirect=True)
def test_a_config_of_ones_own_inherits_from_the_package(written):
    config = load_config(written / "my_scrl.py")
    assert (config.model.type, config.train_dataloader.batch_size, config.train_cfg.max_epochs) == ("SCRL", 32, 200)
    assert_schedule_fits(config)
    assert config.train_dataloader.dataset.data_root == "photos"
    assert config.train_dataloader.dataset.pipeline[1].type == "SpatialConsistentPair"


@pytest.mark.parametrize("written", ["extending.md"], indirect=True)
def test_an_objective_in_one_file_is_what_the_page_says(written):
    config = load_config(written / "spread_scrl.py")
    small = dict(config.model.head, in_channels=8, hidden_channels=8, out_channels=8, norm_cfg=dict(type="BN"))
    head = MODELS.build(Config(small))
    assert (type(head).__name__, head.weight, config.model.type) == ("SpreadRegionHead", 0.1, "SCRL")
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(4, 6, 3, 8, generator=generator)
    valid = torch.rand(6, 3, generator=generator) < 0.7
    prediction1, prediction2 = (head.predict(view) for view in vectors[:2])
    losses = head.loss(prediction1, prediction2, vectors[2], vectors[3], valid)
    assert {key for key in losses if "loss" in key} == {"loss_cosine", "loss_spread"}
    expected = sum(
        (1 - (rows[valid].var(0, correction=0) + 1e-4).sqrt()).clamp(min=0).mean() for rows in (prediction1, prediction2)
    )
    torch.testing.assert_close(losses["loss_spread"], 0.1 * expected)
    losses["loss_spread"].backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_inside_the_checkout_lead_somewhere(page):
    targets = [target for target in re.findall(r"\]\(([^)#]+)", page.read_text()) if "://" not in target]
    for target in targets:
        assert (page.parent / target).exists(), target
    if page.name in ("README.md",):
        assert targets


def test_the_index_names_every_page():
    index = (ROOT / "docs/README.md").read_text()
    assert all(f"({page.name})" in index for page in (ROOT / "docs").glob("*.md") if page.name != "README.md")
