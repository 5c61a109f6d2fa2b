"""AlexNet's change of lighting for uint8 images."""
import mmcv
import numpy as np
from mmcv.transforms import BaseTransform

from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS

# principal components of ImageNet's colours, a column each; rows: blue, green, red
_DEVIATIONS = np.array([55.4625, 4.7940, 1.1475])
_COMPONENTS = np.array([[-0.5836, -0.6948, 0.4203], [-0.5808, -0.0045, -0.8140], [-0.5675, 0.7192, 0.4009]])


@TRANSFORMS.register_module()
class ClippedLighting(BaseTransform):
    """Shift the colour of a whole image along ImageNet's principal components, within 0..255.

    mmpretrain's ``Lighting`` converts to uint8 without clipping: white pixels become black ones. Source: Krizhevsky et al.,
    ImageNet Classification with Deep Convolutional Neural Networks (NIPS 2012), section 4.1.

    Required and changed key: ``img``, uint8 (H, W, 3), BGR.

    Args:
        deviation: Standard deviation of the three factors.

    Raises:
        InputError: ``deviation`` is negative.
    """

    def __init__(self, deviation: float = 0.1) -> None:
        if not deviation >= 0:
            raise InputError(f"ClippedLighting: deviation={deviation!r} must be 0 or more.")
        self.deviation = float(deviation)

    def transform(self, results: dict) -> dict:
        """Change ``img``."""
        shifted = mmcv.adjust_lighting(results["img"], _DEVIATIONS, _COMPONENTS, self.deviation, to_rgb=False)
        results["img"] = shifted.round().clip(0, 255).astype(np.uint8)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(deviation={self.deviation})"
