"""The saliency-guided crop for pipelines of mmpretrain."""
from typing import Any

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform

from mmsscl.datasets.transforms.load_saliency import LoadSaliency
from mmsscl.datasets.transforms.saliency_crop import SaliencyCrop
from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS

_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "area", "lanczos")


@TRANSFORMS.register_module()
class SaliencyRandomResizedCrop(BaseTransform):
    """:class:`SaliencyCrop` in place of mmpretrain's ``RandomResizedCrop``, also inside ``MultiView``.

    Name it ``mmsscl.SaliencyRandomResizedCrop`` in a config of mmpretrain. The maps come from the store of a finished
    pretraining (``store``; a running one may put another file in its place), or from a ``mmsscl.LoadSaliency`` earlier
    in the pipeline. A store is read by index: the data set must list the same images in the same order as the one it was
    made from (``SaliencyStoreCheckHook`` compares them). Each call draws from numpy's global generator, as mmpretrain's
    transforms do, so workers are seeded as there and the views of a ``MultiView`` differ.

    Required keys: ``img`` (H, W, 3), upright; ``sample_idx`` with a ``store``, else ``saliency`` (``None``: a plain
    crop). Modified keys: ``img``, ``img_shape``.

    Args:
        scale: Side of the square result in pixels.
        crop_ratio_range: Least and largest share of the image's area.
        aspect_ratio_range: Least and largest width / height.
        interpolation: As of ``mmcv.imresize``.
        backend: ``"cv2"`` or ``"pillow"`` (which antialiases).
        store: File of a saliency store that holds maps.
        lambda_max: As in :class:`SaliencyCrop`, like ``candidates`` and ``temperature``.
        candidates: See above.
        temperature: See above.

    Raises:
        InputError: An argument outside its range, a bad store, or neither a store nor a key ``saliency``.

    Example:
        >>> dict(type="mmsscl.SaliencyRandomResizedCrop", scale=224, crop_ratio_range=(0.2, 1.0),
        ...      store="work_dirs/sgcl_r50_coco/saliency_store.bin")
    """

    def __init__(
        self,
        scale: int = 224,
        crop_ratio_range: tuple[float, float] = (0.08, 1.0),
        aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = "bilinear",
        backend: str = "cv2",
        store: str | None = None,
        lambda_max: float = 0.7,
        candidates: int = 16,
        temperature: float = 0.1,
    ) -> None:
        name = type(self).__name__
        if not isinstance(scale, int) or isinstance(scale, bool) or scale < 1:
            raise InputError(f"{name}: scale={scale!r} must be the result's side in whole pixels, e.g. 224.")
        if interpolation not in _INTERPOLATIONS or backend not in ("cv2", "pillow"):
            raise InputError(
                f"{name}: interpolation={interpolation!r}, backend={backend!r}; use one of {', '.join(_INTERPOLATIONS)} "
                "and 'cv2' or 'pillow'."
            )
        self.law = SaliencyCrop(crop_ratio_range, aspect_ratio_range, 0.0, lambda_max, candidates, temperature)
        self.scale = scale
        self.interpolation = interpolation
        self.backend = backend
        # by this name, so that whoever searches a pipeline finds it
        self.transforms = [] if store is None else [LoadSaliency(store=store)]

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crops and resizes ``img``."""
        for loader in self.transforms:
            results = loader.transform(results)
        if "saliency" not in results:
            raise InputError(
                f"{type(self).__name__} needs a saliency map. Set store to the file of a pretraining, or put "
                "mmsscl.LoadSaliency before it."
            )
        generator = np.random.default_rng(np.random.randint(0, 2**32, size=4, dtype=np.uint32))
        saliency = results["saliency"]
        if saliency is not None:
            # The map's own generator would be copied by MultiView, and all views would be drawn alike.
            saliency = saliency._replace(generator=generator)
        image = results["img"]
        x, y, w, h = (int(value) for value in self.law.sample(image.shape[:2], generator, saliency)[:4])
        results["img"] = mmcv.imresize(
            np.ascontiguousarray(image[y : y + h, x : x + w]),
            (self.scale, self.scale),
            interpolation=self.interpolation,
            backend=self.backend,
        )
        results["img_shape"] = results["img"].shape
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(scale={self.scale}, area={self.law.area}, lambda_max={self.law.lambda_max})"
