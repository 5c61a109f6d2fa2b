"""Boxes keep their place under bfloat16."""
import torch

from mmsscl.models.roi_extractors import Float32RoIExtractor

LEVELS = dict(
    roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=2), out_channels=4, featmap_strides=[4, 8, 16, 32]
)


def ramp_pyramid(side: int = 1344) -> list[torch.Tensor]:
    """Features that say where they are: the x coordinate, which bfloat16 cannot hold, minus a multiple of 512."""
    maps = []
    for stride in LEVELS["featmap_strides"]:
        x = (torch.arange(side // stride) + 0.5) * stride % 512
        maps.append(x.expand(1, 4, 32, -1).contiguous())
    return maps


def test_boxes_far_from_the_origin_are_not_rounded_by_autocast():
    extractor = Float32RoIExtractor(**LEVELS)
    rois = torch.tensor([[0.0, 1027.0, 5.0, 1061.0, 37.0], [0.0, 1101.0, 3.0, 1221.0, 117.0]])
    maps = ramp_pyramid()
    exact = extractor(maps, rois)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = extractor(maps, rois)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, exact)
    # the mean of a ramp over a box is the box's centre (half a cell earlier, as `aligned` maps pixels)
    torch.testing.assert_close(pooled[0].mean(), (rois[0, 1] + rois[0, 3]) / 2 % 512, atol=0.6, rtol=0)


def test_half_precision_features_pool_in_float32_and_pass_gradients_back():
    extractor = Float32RoIExtractor(**LEVELS)
    maps = [level.div(512).bfloat16().requires_grad_() for level in ramp_pyramid()]
    rois = torch.tensor([[0.0, 1027.0, 5.0, 1061.0, 37.0]])
    pooled = extractor(maps, rois)
    torch.testing.assert_close(pooled, extractor([level.float() for level in maps], rois))
    pooled.sum().backward()
    assert maps[0].grad is not None
    assert maps[0].grad.dtype == torch.bfloat16
    assert maps[0].grad.abs().sum() > 0
