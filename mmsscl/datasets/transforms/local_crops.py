"""Further, smaller crops of an image beside its pair of views."""
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mmsscl.datasets.transforms.saliency_crop import SaliencyCrop
from mmsscl.datasets.transforms.spatial_consistent_pair import cut_view, snap_to_reduction
from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LocalCrops(BaseTransform):
    """Cuts small crops, most of them on salient places, each compared with the views of the pair by the algorithm.

    Multi-crop is SwAV's idea (arXiv 2006.09882); that SGCL (arXiv 2302.11461) weighs "different crops" of an image is
    in its abstract, that these are local crops is our reading, and the constants are ours.

    All draws come from streams of this transform ("local_crop", "local_saliency"): adding it changes nothing else of a
    sample. It uses the pixels that ``SpatialConsistentPair`` has decoded, so put it after that transform; alone it
    decodes the image itself. Images smaller than a crop are enlarged.

    Required keys: ``image`` (EncodedImage), ``streams`` (RandomStreams); ``saliency`` and ``decoded`` are optional.

    Added keys:

    - ``local_views``: uint8 tensor (L, 3, size, size), RGB.
    - ``local_geometry``: float32 (L, 5): x, y, w, h in image pixels, flip.

    Args:
        number: Crops an image, L.
        size: Side of the square crops in pixels.
        area: Least and largest share of the image's area, in (0, 1].
        ratio: Least and largest width / height.
        flip: Probability of a left-right flip.
        lambda_max: As in :class:`SaliencyCrop`, like ``candidates`` and ``temperature``.
        candidates: See above.
        temperature: See above.

    Raises:
        InputError: An argument outside its range.

    Example:
        >>> dict(type="LocalCrops", number=4, size=96)
    """

    def __init__(
        self,
        number: int = 4,
        size: int = 96,
        area: tuple[float, float] = (0.05, 0.2),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        lambda_max: float = 0.9,
        candidates: int = 16,
        temperature: float = 0.1,
    ) -> None:
        for key, value in (("number", number), ("size", size)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"LocalCrops: {key}={value!r} must be a whole number of at least 1.")
        self.number = number
        self.size = size
        self.law = SaliencyCrop(area, ratio, flip, lambda_max, candidates, temperature)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Adds the crops and their geometry; see the class."""
        image, streams = results["image"], results["streams"]
        saliency = results.get("saliency")
        if saliency is not None:
            saliency = saliency._replace(generator=streams.stream("local_saliency"))
        image_size, generator = (image.height, image.width), streams.stream("local_crop")
        crops = [self.law.sample(image_size, generator, saliency) for _ in range(self.number)]

        wanted = image.best_reduction(min(float(min(crop[2], crop[3])) for crop in crops) / self.size)
        reduction, pixels = results.get("decoded", (0, None))
        # Pixels finer than needed serve as well; coarser ones would blur the crops.
        if pixels is None or reduction > wanted:
            reduction, pixels = wanted, image.decode(wanted)
        geometry = np.stack([snap_to_reduction(crop, reduction, image_size) for crop in crops])
        results["local_views"] = torch.stack([cut_view(pixels, crop, reduction, self.size) for crop in geometry])
        results["local_geometry"] = geometry
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(number={self.number}, size={self.size}, area={self.law.area})"
