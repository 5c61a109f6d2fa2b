import numpy as np
import pytest
import torch

import mmsscl  # noqa: F401  (serves mmcv's compiled operators before mmdet is imported)

METAINFO = dict(classes=("car", "dog", "cat"), dataset_type="VOC2007")


@pytest.fixture(scope="module")
def metrics():
    from mmdet.evaluation.metrics import VOCMetric

    from mmsscl.evaluation.voc_metric import SerialVOCMetric

    return VOCMetric, SerialVOCMetric


def samples(count=12):
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(count):
        corner = torch.rand(3, 2, generator=generator) * 50
        boxes = torch.cat([corner, corner + 20], dim=1)
        moved = boxes + torch.rand(3, 1, generator=generator) * 8
        labels = torch.tensor([0, 1, 1])
        none = dict(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
        predicted = dict(bboxes=moved, scores=torch.rand(3, generator=generator), labels=labels)
        found.append(dict(gt_instances=dict(bboxes=boxes, labels=labels), ignored_instances=none, pred_instances=predicted))
    return found


def evaluate(kind, data, thresholds):
    metric = kind(iou_thrs=thresholds)
    metric.dataset_meta = METAINFO
    metric.process({}, data)
    return metric.evaluate(len(data))


def test_same_figures_as_mmdets(metrics):
    data = samples()
    wanted, found = (evaluate(kind, data, [0.5, 0.75]) for kind in metrics)
    assert found == wanted
    assert 0 < found["pascal_voc/AP75"] < found["pascal_voc/AP50"] < 1
    assert found["pascal_voc/mAP"] == pytest.approx(np.mean([found["pascal_voc/AP50"], found["pascal_voc/AP75"]]), abs=1e-3)


def test_eleven_points_by_hand(metrics):
    """One class, hits at ranks 1 and 3 of three, two objects: recall 1/2, 1/2, 1; best precision from there 1, 2/3."""
    box, elsewhere = [0.0, 0.0, 20.0, 20.0], [60.0, 60.0, 80.0, 80.0]
    none = dict(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    data = []
    for boxes, scores in (([box, elsewhere], [0.9, 0.5]), ([box], [0.3])):
        truth = dict(bboxes=torch.tensor([box]), labels=torch.tensor([0]))
        labels = torch.zeros(len(boxes), dtype=torch.long)
        predicted = dict(bboxes=torch.tensor(boxes), scores=torch.tensor(scores), labels=labels)
        data.append(dict(gt_instances=truth, ignored_instances=none, pred_instances=predicted))
    found = evaluate(metrics[1], data, [0.5])
    # recalls 0 to 0.5 are six of the eleven points
    assert found["pascal_voc/mAP"] == pytest.approx((6 * 1 + 5 * 2 / 3) / 11, abs=1e-3)


def test_no_process_is_started(metrics, monkeypatch):
    def fail(*_):
        raise AssertionError("a process was to be forked")

    monkeypatch.setattr("os.fork", fail)
    assert evaluate(metrics[1], samples(), [0.5])
