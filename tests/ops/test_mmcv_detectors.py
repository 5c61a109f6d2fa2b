"""mmdet's detectors train and predict on the served operators (CPU, random weights, small images)."""
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from mmengine.utils import get_installed_path

import mmsscl  # noqa: F401  (installs the finder)

SIZE = (96, 96)
CONFIGS = {
    "faster_rcnn": "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "mask_rcnn": "mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
    "retinanet": "retinanet/retinanet_r18_fpn_1x_coco.py",
}


def small_detector(name: str) -> torch.nn.Module:
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    register_all_modules()
    model = Config.fromfile(f"{get_installed_path('mmdet')}/.mim/configs/{CONFIGS[name]}").model
    model.backbone.depth = 18
    model.backbone.init_cfg = None
    model.neck.in_channels = [64, 128, 256, 512]
    model.test_cfg.setdefault("rcnn", {})
    torch.manual_seed(0)
    detector = MODELS.build(model)
    detector.init_weights()
    return detector


def two_images() -> tuple[torch.Tensor, list]:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    images = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    shape = dict(img_shape=SIZE, ori_shape=SIZE, batch_input_shape=SIZE, pad_shape=SIZE, scale_factor=(1.0, 1.0))
    samples = []
    for _ in images:
        masks = BitmapMasks(np.ones((2, *SIZE), np.uint8), *SIZE)
        boxes = torch.tensor([[8.0, 8.0, 50.0, 60.0], [30.0, 40.0, 90.0, 90.0]])
        sample = DetDataSample(metainfo=shape)
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([1, 5]), masks=masks)
        samples.append(sample)
    return images, samples


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_detector_trains_and_predicts(name: str) -> None:
    detector = small_detector(name)
    images, samples = two_images()
    detector.train()
    loss, parts = detector.parse_losses(detector.loss(images, samples))
    loss.backward()
    assert torch.isfinite(loss)
    assert {"faster_rcnn": "loss_bbox", "mask_rcnn": "loss_mask", "retinanet": "loss_cls"}[name] in parts
    # the gradient goes through RoIAlign into the pyramid, and through that into the unfrozen stages
    for part in (detector.neck, detector.backbone.layer4):
        gradients = [parameter.grad for parameter in part.parameters() if parameter.grad is not None]
        assert gradients
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0

    detector.eval()
    with torch.no_grad():
        found = detector.predict(images, samples)
    assert len(found) == 2
    for sample in found:
        boxes = sample.pred_instances.bboxes
        assert boxes.shape[1] == 4
        assert torch.isfinite(boxes).all()
        assert (sample.pred_instances.scores[:-1] >= sample.pred_instances.scores[1:]).all()
