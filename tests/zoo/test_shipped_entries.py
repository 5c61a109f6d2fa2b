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
    assert config.model.type == {"MoCo v2": "SGCL"}.get(entry.method, entry.method)  # without its weights and crops
    backbone = config.model.backbone
    assert about["Backbone"] == (f"ResNet-{backbone.depth}" if "depth" in backbone else f"Swin-{backbone.arch[0].upper()}")
    loader, wrapper = config.train_dataloader.batch_size, config.optim_wrapper
    gpus = int(found[1]) if (found := re.search(r"_(\d+)xb\d+", name)) else 1
    assert about["Batch Size"] == gpus * loader * wrapper.get("accumulative_counts", 1)
    if "max_epochs" in config.train_cfg:
        assert about["Epochs"] == config.train_cfg.max_epochs
    else:
        assert about["Epochs"] == config.train_cfg.max_iters * loader / 1600


SCENES = {"scrl_r18_scenes": "SCRL", "byol_r18_scenes": "BYOL", "sgcl_r18_scenes": "SGCL",
          "scrl-sgcl_r18_scenes": "SCRL + SGCL", "moco_r18_scenes": "MoCo v2"}  # fmt: skip
COLUMNS = {"AP": "detection AP", "AP50": "AP50", "AP, frozen backbone": "frozen AP", "linear": "linear", "kNN": "kNN",
           "top-1 in the photo": "regions, photo", "top-1 in all": "regions, all", "max F": "saliency max F"}  # fmt: skip


def scene_bench():
    """Rows of README's table by method, figures by column; a dash is left out."""
    table = (ROOT / "README.md").read_text().split("<!-- scene_bench: begin -->")[1].split("<!--")[0]
    header, _, *lines = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines())
    rows = {}
    for name, *cells in lines:
        rows[name] = {column: float(cell.split()[0]) for column, cell in zip(header[1:], cells) if cell[0].isdigit()}
    return rows


@pytest.mark.parametrize(("name", "row"), SCENES.items())
def test_figures_on_scenes_are_those_of_the_readme(name, row):
    rows = scene_bench()
    measured = rows.get(row, {})
    expected = {key: measured[column] for key, column in COLUMNS.items() if column in measured}
    random = {f"{key}, random weights": rows["random weights"][column] for key, column in COLUMNS.items()}
    found = {key: value for result in ENTRIES[name].results for key, value in result.metrics.items()}
    assert expected.keys() <= found.keys()
    assert all(value == {**expected, **random}[key] for key, value in found.items())


def test_figures_of_the_quickstart_are_those_of_the_readme():
    readme = (ROOT / "README.md").read_text()
    ours = {name for name, entry in ENTRIES.items() if any(result.source is None for result in entry.results)}
    assert ours <= {"scrl_r18_toy", *SCENES}
    (toy,) = ENTRIES["scrl_r18_toy"].results
    for line, key in (("from SCRL", "bbox_mAP"), ("from random weights", "random_bbox_mAP")):
        assert re.search(rf"{line} +{toy.metrics[key]:.3f} +{toy.metrics[key + '_50']:.3f}", readme)


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
