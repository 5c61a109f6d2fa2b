import torch
from torchvision.ops import roi_align

from mmsscl.models.necks import GlobalNeck, RegionNeck
from mmsscl.registry import MODELS

NORM = {"type": "BN"}


def test_region_neck_pools_then_projects_each_box():
    torch.manual_seed(0)
    neck = RegionNeck(8, 16, 5, stride=16, norm_cfg=NORM).eval()
    features = torch.randn(3, 8, 6, 4)
    boxes = torch.tensor([[[0.0, 0.0, 30.0, 40.0], [20.0, 10.0, 900.0, 96.0]]]).repeat(3, 1, 1)
    clipped = boxes.clone()
    clipped[:, 1, 2] = 64.0
    expected = neck.projector(roi_align(features, list(clipped), 1, 1 / 16, -1, False).flatten(1)).reshape(3, 2, 5)
    torch.testing.assert_close(neck((torch.zeros(1), features), boxes), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(neck(features, boxes), neck((features,), boxes))


def test_region_neck_norm_sees_all_boxes_of_the_batch_at_once():
    torch.manual_seed(0)
    neck = RegionNeck(8, 16, 5, norm_cfg=NORM)
    features, boxes = torch.randn(2, 8, 3, 3), torch.rand(2, 4, 4) * 40 + torch.tensor([0.0, 0.0, 50.0, 50.0])
    rows = neck.pool(features, boxes).reshape(8, 8)
    torch.testing.assert_close(neck(features, boxes).reshape(8, 5), neck.projector(rows))


def test_global_neck_averages_then_projects():
    torch.manual_seed(0)
    neck = GlobalNeck(8, 16, 5, norm_cfg=NORM).eval()
    features = torch.randn(3, 8, 6, 4)
    out = neck((features,))
    assert out.shape == (3, 1, 5)
    torch.testing.assert_close(out[:, 0], neck.projector(features.flatten(2).mean(-1)))
    assert torch.equal(out, neck(features, torch.zeros(3, 7, 4)))


def test_built_from_configs_with_options():
    neck = MODELS.build({
        "type": "RegionNeck", "in_channels": 8, "hidden_channels": 4, "out_channels": 3, "stride": 16,
        "aligned": True, "sampling_ratio": 2, "norm_cfg": NORM,
    })
    assert (neck.pool.stride, neck.pool.aligned, neck.pool.sampling_ratio) == (16, True, 2)
    assert isinstance(MODELS.build({"type": "mmsscl.GlobalNeck", "in_channels": 8}), GlobalNeck)
