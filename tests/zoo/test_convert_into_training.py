"""Imported weights start a pretraining; a Swin Transformer pretrains and leaves for other libraries."""

import pytest
import timm
import torch

from mmsscl.engine.train import train
from mmsscl.errors import InputError
from mmsscl.zoo.convert import convert_backbone
from mmsscl.zoo.read_backbone import build_backbone, read_backbone
from tests.sample_backbones import children, image, resnet, save, under
from tests.sample_runs import ROOT, write_photos, write_pretraining_config

pytestmark = pytest.mark.usefixtures("one_thread")

HOOK = """
custom_hooks.append(dict(type="BackboneWeightsHook"))
"""


@pytest.fixture(scope="module")
def scrl_file(tmp_path_factory):
    content = {"online_network_state_dict": under("encoder.", children(resnet(18)))}
    return save(content, tmp_path_factory.mktemp("scrl") / "scrl_200ep.pth")


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_pretraining_starts_from_an_imported_file(tmp_path, scrl_file, ending):
    report = convert_backbone(scrl_file, tmp_path / f"backbone{ending}")
    config = write_pretraining_config(tmp_path, photos=4, more=HOOK)
    options = {"model.backbone.init_cfg.type": "Pretrained", "model.backbone.init_cfg.checkpoint": report.path}
    runner = train(config, work_dir=str(tmp_path / "run"), options=options | {"optim_wrapper.optimizer.lr": 1e-30})
    assert torch.allclose(runner.model.backbone.layer4[1].conv2.weight, resnet(18).layer4[1].conv2.weight)


def test_pretraining_with_images_of_another_normalisation_is_refused(tmp_path, scrl_file):
    numbers = dict(mean=[0, 0, 0], std=[255, 255, 255], channel_order="BGR")
    report = convert_backbone(scrl_file, tmp_path / "backbone.pth", **numbers)
    assert "channel order BGR, not RGB; mean [0, 0, 0], not [123.675" in report.mismatch
    config = write_pretraining_config(tmp_path, photos=4, more=HOOK)
    options = {"model.backbone.init_cfg.type": "Pretrained", "model.backbone.init_cfg.checkpoint": report.path}
    with pytest.raises(InputError, match=r"(?s)mean .* instead of \[0\.0.*std .*channel order RGB instead of BGR"):
        train(config, work_dir=str(tmp_path / "run"), options=options)


def test_scrl_pretrains_a_swin_transformer_that_leaves_for_other_libraries(tmp_path):
    options = {
        "train_dataloader.dataset.data_root": str(write_photos(tmp_path / "photos", 4, 256)),
        "train_dataloader.batch_size": 2, "train_dataloader.num_workers": 0, "train_dataloader.persistent_workers": False,
        "model.neck.hidden_channels": 32, "model.head.hidden_channels": 32, "train_cfg.max_epochs": 1,
        "default_hooks.checkpoint.interval": 1, "param_scheduler": [], "optim_wrapper.type": "OptimWrapper",
    }  # fmt: skip
    config = ROOT / "configs/scrl/scrl_swin-t_8xb64-300e_coco.py"
    runner = train(config, work_dir=str(tmp_path / "run"), options=options)
    assert runner.iter == 2
    losses = runner.message_hub.get_scalar("train/loss").data[0]
    assert len(losses) == 2
    assert torch.isfinite(torch.as_tensor(losses)).all()
    moved = [not torch.equal(one, other) for one, other in zip(
        runner.model.backbone.parameters(), runner.model.target["backbone"].parameters())]  # fmt: skip
    assert all(moved), "a parameter got no gradient"

    source = tmp_path / "run" / "epoch_1.pth"
    stored = read_backbone(source)
    network = build_backbone(stored)
    network.load_state_dict(stored.state, strict=True)
    network.eval()
    report = convert_backbone(source, tmp_path / "timm.safetensors", to="timm")
    assert (report.layout, report.architecture) == ("mmsscl", "SwinTransformer-tiny")
    other = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0, checkpoint_path=report.path).eval()
    with torch.no_grad():
        wanted = network(image(224))[-1]
        found = other.forward_features(image(224)).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))
    with pytest.raises(InputError, match="--to detectron2: not known for a Swin Transformer"):
        convert_backbone(source, tmp_path / "d2.pth", to="detectron2")
