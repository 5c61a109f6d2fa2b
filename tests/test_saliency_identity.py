"""Saliency of strength 0 changes nothing: whole runs through data, refreshes, ramp and losses, bit for bit."""
import pytest
import torch

from mmsscl.engine.train import train
from tests.sample_runs import PRETRAINING, write_photos

pytestmark = pytest.mark.usefixtures("one_thread")

# What turns the SCRL of sample_runs into BYOL, and either into its saliency-guided form.
BYOL = """
model.update(type="BYOL", neck=dict(
    type="GlobalNeck", in_channels=512, hidden_channels=32, out_channels=16, norm_cfg=norm_cfg))
"""
GUIDED = """
model.update(type="SGCL", regions="{regions}")
model["head"].update(type="WeightedPredictHead")
views = [dict(type="SaliencyCrop", area=(0.5, 1.0), flip=0.5)] * 2
pipeline = [
    dict(type="LoadSceneImage"),
    dict(type="LoadSaliency"),
    dict(type="SpatialConsistentPair", size=64, views=views, max_iou=0.8,
         boxes=dict(type="{boxes}", num_boxes=4, min_size=8, max_iou=0.5)),
    dict(type="DrawPhotometric", views=photometric),
    dict(type="ScoreCrops"),
    dict(type="PackPair")]
train_dataloader["dataset"]["pipeline"] = pipeline
custom_hooks = [*custom_hooks, dict(
    type="SaliencyRefreshHook", estimator=dict(type="{estimator}"), warmup_epochs=1, ramp_epochs=2, interval=1,
    image_size=96, map_size=6, batch_size=4, strength={strength})]
"""
LONG = "\ntrain_cfg['max_epochs'] = 4\n"


def trained(folder, photos, text):
    folder.mkdir()
    file = folder / f"{folder.name}.py"
    file.write_text(PRETRAINING.replace("{photos}", str(photos)) + text + LONG, encoding="utf-8")
    runner = train(file, work_dir=str(folder / "run"))
    assert runner.iter == 8
    losses = [value for value, _ in zip(*runner.message_hub.get_scalar("train/loss").data)]
    return losses, runner.model.state_dict(), next((folder / "run").rglob("*.log")).read_text()


@pytest.mark.parametrize(
    ("base", "guided"),
    [
        (BYOL, dict(regions="global", boxes="GridBoxes", estimator="ContrastiveCAM")),
        ("", dict(regions="boxes", boxes="SaliencyBoxes", estimator="SpectralSaliency")),
    ],
    ids=["byol", "scrl"],
)
def test_strength_zero_trains_as_the_base_over_refreshes_and_ramp(tmp_path, base, guided):
    photos = write_photos(tmp_path / "photos", 8)
    losses, state, _ = trained(tmp_path / "base", photos, base)
    same_losses, same_state, log = trained(tmp_path / "zero", photos, base + GUIDED.format(strength=0.0, **guided))
    assert "saliency refresh 2 before epoch 3" in log
    assert same_losses == losses
    assert same_state.keys() == state.keys()
    for name, value in state.items():
        assert torch.equal(value, same_state[name]), name
    # the same run at full strength: what the comparison above would miss if nothing were guided at all
    other_losses, other_state, _ = trained(tmp_path / "full", photos, base + GUIDED.format(strength=1.0, **guided))
    assert other_losses[:2] == losses[:2], "the warm-up epoch is plain"
    assert other_losses[2:] != losses[2:]
    assert any(not torch.equal(value, other_state[name]) for name, value in state.items())
