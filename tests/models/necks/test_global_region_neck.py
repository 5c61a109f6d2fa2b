import torch

from mmsscl.models.necks import GlobalNeck, GlobalRegionNeck, RegionNeck
from mmsscl.registry import MODELS

NORM = {"type": "BN"}


def make(kind):
    torch.manual_seed(0)
    return kind(8, 16, 5, norm_cfg=NORM)


def inputs():
    torch.manual_seed(1)
    return torch.randn(3, 8, 6, 4), torch.rand(3, 2, 4) * 40 + torch.tensor([0.0, 0.0, 50.0, 50.0])


def test_first_row_is_the_views_then_come_the_boxes():
    features, boxes = inputs()
    necks = [make(kind).eval() for kind in (GlobalRegionNeck, GlobalNeck, RegionNeck)]
    assert len({str({name: value.sum().item() for name, value in neck.state_dict().items()}) for neck in necks}) == 1
    both, whole, regions = (neck((features,), boxes) for neck in necks)
    assert both.shape == (3, 3, 5)
    torch.testing.assert_close(both[:, :1], whole)
    torch.testing.assert_close(both[:, 1:], regions)


def test_without_boxes_only_the_view():
    features, boxes = inputs()
    neck = make(GlobalRegionNeck).eval()
    torch.testing.assert_close(neck(features), neck(features, boxes)[:, :1])


def test_norm_sees_views_and_boxes_in_one_batch():
    features, boxes = inputs()
    neck = make(GlobalRegionNeck)
    rows = torch.cat([features.mean((2, 3))[:, None], neck.pool(features, boxes)], 1).flatten(0, 1)
    expected = make(GlobalRegionNeck).projector(rows).reshape(3, 3, 5)
    torch.testing.assert_close(neck(features, boxes), expected)
    assert int(neck.projector.norm.num_batches_tracked) == 1


def test_float32_pooling_of_bfloat16_features():
    features, boxes = inputs()
    neck = make(GlobalRegionNeck)
    seen = []
    neck.projector.register_forward_pre_hook(lambda _, rows: seen.append(rows[0]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        neck(features.bfloat16(), boxes)
    assert seen[0].dtype == torch.float32
    torch.testing.assert_close(seen[0].reshape(3, 3, 8)[:, 0], features.bfloat16().float().mean((2, 3)))


def test_built_from_a_config_and_compiled_without_graph_breaks():
    neck = MODELS.build({"type": "GlobalRegionNeck", "in_channels": 8, "hidden_channels": 16, "out_channels": 5,
                         "stride": 16, "norm_cfg": NORM})  # fmt: skip
    assert neck.pool.stride == 16
    features, boxes = inputs()
    expected = neck.eval()(features, boxes)
    neck.compile(backend="eager", fullgraph=True)
    torch.testing.assert_close(neck(features, boxes), expected)
