import pytest
import torch

from mmsscl.engine.config import load_config
from mmsscl.engine.train import register_scope
from tests.sample_runs import ROOT, write_backbone

CONFIG = ROOT / "configs/transfer/faster_rcnn_r50_c4_syncbn_24k_voc0712.py"


@pytest.fixture
def file(tmp_path):
    return write_backbone(tmp_path / "backbone.pth", depth=50)


def build(**options):
    register_scope("mmdet")
    from mmdet.registry import MODELS

    model = MODELS.build(load_config(CONFIG, options).model)
    model.init_weights()
    return model


def test_one_file_fills_both_halves(file):
    wanted = torch.load(file, weights_only=True)["state_dict"]
    model = build(**{"model.backbone.init_cfg.checkpoint": str(file)})
    found = model.backbone.state_dict() | model.roi_head.shared_head.state_dict()
    assert {name for name in found if name not in wanted} == {
        f"norm.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    assert len(wanted) == 318
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
    model.train()
    norms = [part for part in model.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
    assert all(isinstance(part, torch.nn.SyncBatchNorm) for part in norms)
    assert all(part.training for part in norms)
    assert len(norms) == 53 + 1
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.roi_head.bbox_head.fc_cls.out_features == 21


def test_random_backbone_has_a_random_head_too():
    torch.manual_seed(0)
    one, other = (build(**{"model.backbone.init_cfg": None}).roi_head.shared_head.layer4[0].conv1.weight for _ in range(2))
    assert not torch.equal(one, other)


def test_extra_norm_follows_the_stage():
    register_scope("mmdet")
    from mmsscl.models.detectors import ResLayerExtraNorm

    torch.manual_seed(0)
    stage = ResLayerExtraNorm(18, norm_cfg=dict(type="BN"), norm_eval=False)
    regions = torch.randn(3, 256, 14, 14)
    normalised = stage(regions)
    assert normalised.shape == (3, 512, 7, 7)
    torch.testing.assert_close(normalised.mean((0, 2, 3)), torch.zeros(512), atol=1e-4, rtol=0)
    plain = stage.layer4(regions)
    expected = torch.nn.functional.batch_norm(plain, None, None, training=True)
    torch.testing.assert_close(stage(regions), expected, atol=1e-4, rtol=1e-4)
