"""How salient the drawn crops and boxes are."""
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from mmsscl.datasets.transforms.integral_image import MapIntegral
from mmsscl.registry import TRANSFORMS
from mmsscl.structures.view_geometry import ViewGeometry


@TRANSFORMS.register_module()
class ScoreCrops(BaseTransform):
    """Scores views, boxes and local crops by the image's saliency; the losses are weighed by these scores later.

    The score of a region is ``mean_inside ** .5 * coverage ** .5`` (see :meth:`MapIntegral.scores`): built from the
    abstract of SGCL (arXiv 2302.11461), the formula is ours. It is taken in the image, so it does not depend on the
    view that shows the region. A box's score is the geometric mean of its two regions': for boxes that match it is
    the score of the region they show, for ``WholeViewBox`` that of the pair of views.

    Put it after all transforms that draw crops. Nothing is random here.

    Required keys: ``image``, ``views``, ``geometry``, ``boxes`` of ``SpatialConsistentPair``; ``local_geometry``
    where there are local crops; ``saliency`` (without it all scores are 1 and the guidance is 0).

    Added keys, float32: ``view_scores`` (2,), ``box_scores`` (K,), ``local_scores`` (L,) where there are local crops,
    all in [0, 1]; ``guidance``, a scalar in [0, 1].
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Adds the scores; see the class."""
        geometry, boxes, local = results["geometry"], results["boxes"], results.get("local_geometry")
        saliency, num_boxes = results.get("saliency"), boxes.shape[1]
        crops = geometry if local is None else np.concatenate([geometry, local])
        if saliency is None:
            scores = np.ones(len(crops) + 2 * num_boxes, dtype=np.float32)
        else:
            size = results["views"][0].shape[-1]
            corners = crops[:, :4].astype(np.float64)
            corners[:, 2:] += corners[:, :2]
            regions = ViewGeometry(geometry.astype(np.float64), size).boxes_to_image(boxes).reshape(-1, 4)
            image_size = (results["image"].height, results["image"].width)
            everything = np.concatenate([corners, regions])
            scores = MapIntegral(saliency.values).scores(everything, image_size).astype(np.float32)
        both = scores[len(crops) :].reshape(2, num_boxes)
        results["view_scores"] = scores[:2]
        results["box_scores"] = np.sqrt(both[0] * both[1])
        if local is not None:
            results["local_scores"] = scores[2 : len(crops)]
        results["guidance"] = np.float32(0.0 if saliency is None else saliency.guidance)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
