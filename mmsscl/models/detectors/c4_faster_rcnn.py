"""Faster R-CNN on the C4 features of a ResNet, whose two halves come from one pretrained file."""
from mmdet.models.detectors import FasterRCNN

from mmsscl.registry import MODELS


@MODELS.register_module()
class C4FasterRCNN(FasterRCNN):
    """mmdet's ``FasterRCNN`` that also fills ``roi_head.shared_head`` from the backbone's pretrained file.

    In a C4 detector ``layer4`` of the ResNet stands behind the region pooling, in ``roi_head.shared_head``, which mmdet
    gives an ``init_cfg`` of its own: a file set for the backbone alone would leave it random, silently. Here the shared head
    takes over the backbone's pretrained ``init_cfg``, and no other. Arguments are those of ``FasterRCNN``.

    Example:
        >>> model = dict(type="mmsscl.C4FasterRCNN")
    """

    def init_weights(self) -> None:
        """Initialise, the shared head from where the backbone is."""
        initial = self.backbone.init_cfg
        if isinstance(initial, dict) and initial.get("type") == "Pretrained":
            self.roi_head.shared_head.init_cfg = dict(initial)
        super().init_weights()
