"""What the package's metafiles say is so: checked against the configs, the README and OpenMMLab's own reader."""
import re

import pytest
from mmengine.config import Config
from modelindex.load_model_index import load

from mmsscl.zoo.catalogue import read_index, shipped_folder
from tests.sample_runs import ROOT

ENTRIES = {entry.name: entry for entry in read_index(ROOT.as_uri(), "shipped")}


def test_openmmlabs_reader_finds_no_fault():
    index = load(str(ROOT / "model-index.yml"))
    index.build_models_with_collections()
    assert index.check(silent=True) == []
    assert {model.name for model in index.models} == set(ENTRIES)
    assert {model.full_model.paper["URL"] for model in index.models} >= {"https://arxiv.org/abs/2103.06122"}


def test_the_index_is_found_in_a_checkout():
    assert (shipped_folder() / "model-index.yml").is_file()


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.weights is None])
def test_a_recipe_says_what_its_config_does(name):
    entry = ENTRIES[name]
    assert (ROOT / entry.config).is_file()
    config = Config.fromfile(ROOT / entry.config)
    about = entry.metadata
    assert config.model.type == entry.method
    assert about["Backbone"] == f"ResNet-{config.model.backbone.depth}"
    loader, wrapper = config.train_dataloader.batch_size, config.optim_wrapper
    gpus = int(found[1]) if (found := re.search(r"_(\d+)xb\d+", name)) else 1
    assert about["Batch Size"] == gpus * loader * wrapper.get("accumulative_counts", 1)
    if "max_epochs" in config.train_cfg:
        assert about["Epochs"] == config.train_cfg.max_epochs
    else:
        assert about["Epochs"] == config.train_cfg.max_iters * loader / 1600


def test_figures_of_our_own_stand_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    ours = {name: entry for name, entry in ENTRIES.items() if any(result.source is None for result in entry.results)}
    rows = {f"{name}_r18_scenes": row for name, row in
            {"scrl": "SCRL", "byol": "BYOL", "sgcl": "SGCL", "scrl-sgcl": "SCRL + SGCL"}.items()}  # fmt: skip
    assert set(ours) == {"scrl_r18_toy", *rows}
    for name, row in rows.items():
        first = ours[name].results[0].metrics
        if "max F" in first:
            assert re.search(rf"\| {re.escape(row)} \|.*\| {_short(first['max F'])} \| \.590 \|", readme)
            assert f"| {_short(first['max F, maps shuffled between photos'])} | | |" in readme
            continue
        second = ours[name].results[1].metrics
        ordered = [*list(first.values())[:2], second["box AP"], second["box AP50"], second["mask AP"], second["mask AP50"]]
        assert f"| {row} | {' | '.join(f'{value:.1f}' for value in ordered)} |" in readme
        assert f"| random weights | {first['box AP, random weights']} | {first['box AP50, random weights']} |" in readme
    (toy,) = ours["scrl_r18_toy"].results
    for line, key in (("from SCRL", "bbox_mAP"), ("from random weights", "random_bbox_mAP")):
        assert re.search(rf"{line} +{toy.metrics[key]:.3f} +{toy.metrics[key + '_50']:.3f}", readme)


def _short(figure):
    return f"{figure:.3f}".removeprefix("0")


def test_others_weights_are_unverified_and_their_figures_theirs():
    theirs = [entry for entry in ENTRIES.values() if entry.weights is not None]
    assert sorted(entry.file_name for entry in theirs) == [
        "byol_1000ep.pth", "byol_200ep.pth", "scrl_1000ep.pth", "scrl_200ep.pth"
    ]  # fmt: skip
    for entry in theirs:
        assert (entry.sha256, entry.status, entry.layout) == (None, "unverified", "scrl")
        assert entry.results
        assert all("the authors, https://github.com/kakaobrain/scrl" in result.source for result in entry.results)
        assert str(entry.metadata["Epochs"]) in entry.file_name
        assert entry.file_name.startswith(entry.method.lower())
