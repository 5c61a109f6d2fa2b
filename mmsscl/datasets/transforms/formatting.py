"""Packing a sample for collation."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS

_SOURCES = {
    "views": "SpatialConsistentPair",
    "geometry": "SpatialConsistentPair",
    "boxes": "SpatialConsistentPair",
    "valid": "SpatialConsistentPair",
    "photometric": "DrawPhotometric",
    "sample_idx": "the data set (SceneImages)",
}


@TRANSFORMS.register_module()
class PackPair(BaseTransform):
    """Keeps what training needs of a pair of views, as tensors of fixed shape that stack into a batch.

    Required keys: ``views`` (two uint8 tensors (3, S, S)), ``geometry`` (2, 5), ``boxes`` (2, K, 4), ``valid`` (K,),
    ``photometric`` (2, P), ``sample_idx``.

    Returns, from :meth:`transform`, ``dict(inputs=[view1, view2], pairs=dict(...))`` with ``pairs`` holding
    ``geometry``, ``boxes``, ``photometric`` (float32), ``valid`` (bool) and ``index`` (int64 scalar, into the
    data set). Collate with ``collate_fn=dict(type="default_collate")``.

    Raises:
        InputError: A key is missing, so the pipeline lacks a transform.
    """

    def transform(self, results: dict) -> dict:
        """Packs one sample."""
        for key, source in _SOURCES.items():
            if key not in results:
                raise InputError(f"PackPair needs {key!r}, put by {source}. Add it to the pipeline before PackPair.")
        return {
            "inputs": [torch.as_tensor(view) for view in results["views"]],
            "pairs": {
                "geometry": _tensor(results["geometry"], np.float32),
                "boxes": _tensor(results["boxes"], np.float32),
                "valid": _tensor(results["valid"], np.bool_),
                "photometric": _tensor(results["photometric"], np.float32),
                "index": torch.tensor(results["sample_idx"], dtype=torch.int64),
            },
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _tensor(array: np.ndarray, dtype: type) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=dtype))
