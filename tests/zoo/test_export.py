import hashlib

import pytest
import torch
from mmengine.registry import MODELS

from mmsscl.errors import InputError
from mmsscl.zoo.export import export_backbone
from mmsscl.zoo.read_backbone import stored_config
from tests.sample_runs import write_checkpoint


def detector_resnet(**config):
    # mmdet imports mmcv's operators, which mmsscl serves where they are not compiled: mmsscl comes first
    from mmdet.models import ResNet

    return ResNet(**config)


def test_resnet50_has_318_keys_and_loads_into_mmdet(tmp_path):
    source = write_checkpoint(tmp_path / "epoch_1.pth", depth=50)
    report = export_backbone(source, tmp_path / "made" / "backbone.pth")
    assert (report.matched, report.keys) == (318, 318)
    content = torch.load(report.path, weights_only=True)
    detector_resnet(depth=50).load_state_dict(content["state_dict"], strict=True)
    assert content["meta"]["arch"] == "ResNet-50"
    assert content["meta"]["mean"] == [123.675, 116.28, 103.53]
    assert content["meta"]["std"] == [58.395, 57.12, 57.375]
    assert content["meta"]["channel_order"] == "RGB"
    assert content["meta"]["source"] == "epoch_1.pth"
    assert "init_cfg" not in content["meta"]["backbone"]
    with open(report.path, "rb") as stream:
        assert report.sha256 == hashlib.sha256(stream.read()).hexdigest()
    assert [file.name for file in (tmp_path / "made").iterdir()] == ["backbone.pth"], "no temporary file stays"


def test_branches_are_the_two_encoders(tmp_path):
    source = write_checkpoint(tmp_path / "epoch_1.pth")
    state = torch.load(source, weights_only=True)["state_dict"]
    for branch, prefix in (("online", "backbone."), ("target", "target.backbone.")):
        report = export_backbone(source, tmp_path / f"{branch}.pth", branch=branch)
        content = torch.load(report.path, weights_only=True)
        assert content["meta"]["branch"] == branch
        for name, value in content["state_dict"].items():
            assert torch.equal(value, state[prefix + name])
    assert not torch.equal(state["backbone.conv1.weight"], state["target.backbone.conv1.weight"])


def test_missing_branch_and_exported_file_are_explained(tmp_path):
    online = write_checkpoint(tmp_path / "epoch_1.pth", prefixes=("backbone.",))
    with pytest.raises(InputError, match="--branch online"):
        export_backbone(online, tmp_path / "out.pth", branch="target")
    with pytest.raises(InputError, match="no such branch"):
        export_backbone(online, tmp_path / "out.pth", branch="both")
    report = export_backbone(online, tmp_path / "backbone.pth")
    with pytest.raises(InputError, match="exported already"):
        export_backbone(report.path, tmp_path / "again.pth")
    with pytest.raises(InputError, match="is a folder"):
        export_backbone(online, tmp_path)


def test_config_of_another_architecture_is_refused_and_nothing_is_written(tmp_path):
    source = write_checkpoint(tmp_path / "epoch_1.pth")
    content = torch.load(source, weights_only=True)
    content["meta"]["cfg"] = content["meta"]["cfg"].replace("depth=18", "depth=34")
    torch.save(content, source)
    with pytest.raises(InputError, match=r"missing.*layer1\.2"):
        export_backbone(source, tmp_path / "backbone.pth")
    assert not (tmp_path / "backbone.pth").exists()


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    source = write_checkpoint(tmp_path / "epoch_1.pth")
    out = tmp_path / "backbone.pth"
    out.write_bytes(b"old")

    def fail(content, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        export_backbone(source, out)
    assert out.read_bytes() == b"old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["backbone.pth", "epoch_1.pth"]


def test_stored_config_is_read_and_never_run(tmp_path):
    marker = tmp_path / "run_by_the_config"
    text = f"import os\nos.mkdir({str(marker)!r})\na = dict(b=[1, (2.5, None)], c=dict({{'x y': True}}))\nd = -1\n"
    config = stored_config({"meta": {"cfg": text}}, "f.pth")
    assert config == {"a": {"b": [1, (2.5, None)], "c": {"x y": True}}, "d": -1}
    assert not marker.exists()
    with pytest.raises(InputError, match="no training config"):
        stored_config({"state_dict": {}}, "f.pth")


def test_exported_weights_give_the_features_of_the_checkpoint(tmp_path):
    source = write_checkpoint(tmp_path / "epoch_1.pth")
    state = torch.load(source, weights_only=True)["state_dict"]
    report = export_backbone(source, tmp_path / "backbone.pth")
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    backbone = MODELS.build(dict(type="mmpretrain.ResNet", depth=18))
    backbone.eval()
    backbone.load_state_dict({k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")})
    detector = detector_resnet(depth=18, init_cfg=dict(type="Pretrained", checkpoint=report.path), norm_eval=False)
    detector.eval()
    detector.init_weights()
    assert torch.equal(detector(image)[3], backbone(image)[-1])
