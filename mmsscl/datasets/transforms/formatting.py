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
_OPTIONAL = ("view_scores", "box_scores", "guidance", "local_geometry", "local_photometric", "local_scores")


@TRANSFORMS.register_module()
class PackPair(BaseTransform):
    """Keeps what training needs of a pair of views, as tensors of fixed shape that stack into a batch.

    Required keys: ``views`` (two uint8 tensors (3, S, S)), ``geometry`` (2, 5), ``boxes`` (2, K, 4), ``valid`` (K,),
    ``photometric`` (2, P), ``sample_idx``.

    Returns, from :meth:`transform`, ``dict(inputs=[view1, view2], pairs=dict(...))`` with ``pairs`` holding
    ``geometry``, ``boxes``, ``photometric`` (float32), ``valid`` (bool) and ``index`` (int64 scalar, into the
    data set). Where the pipeline put them, ``pairs`` also holds ``view_scores`` (2,), ``box_scores`` (K,) and
    ``guidance`` (scalar) of ``ScoreCrops``, and for local crops ``local_views`` (uint8 (L, 3, s, s)), ``local_geometry``
    (L, 5), ``local_photometric`` (L, P) and ``local_scores`` (L,); float32 unless said otherwise; and ``bad_index`` (int64
    scalar) where the data set substitutes bad photos. Collate with ``collate_fn=dict(type="default_collate")``.

    Raises:
        InputError: A key is missing, so the pipeline lacks a transform or has it in the wrong place.
    """

    def transform(self, results: dict) -> dict:
        """Packs one sample."""
        for key, source in _SOURCES.items():
            if key not in results:
                raise InputError(f"PackPair needs {key!r}, put by {source}. Add it to the pipeline before PackPair.")
        pairs = {
            "geometry": _tensor(results["geometry"], np.float32),
            "boxes": _tensor(results["boxes"], np.float32),
            "valid": _tensor(results["valid"], np.bool_),
            "photometric": _tensor(results["photometric"], np.float32),
            "index": torch.tensor(results["sample_idx"], dtype=torch.int64),
        }
        if "bad_index" in results:
            pairs["bad_index"] = torch.tensor(results["bad_index"], dtype=torch.int64)
        if "local_views" in results:
            _check_local(results)
            pairs["local_views"] = torch.as_tensor(results["local_views"])
        pairs.update({key: _tensor(results[key], np.float32) for key in _OPTIONAL if key in results})
        return {"inputs": [torch.as_tensor(view) for view in results["views"]], "pairs": pairs}

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _check_local(results: dict) -> None:
    if "local_photometric" not in results:
        raise InputError("PackPair: local crops without photometric parameters. Put LocalCrops before DrawPhotometric.")
    if "view_scores" in results and "local_scores" not in results:
        raise InputError("PackPair: local crops without scores. Put LocalCrops before ScoreCrops.")


def _tensor(array: np.ndarray, dtype: type) -> torch.Tensor:
    # Not ascontiguousarray, which makes a scalar an array of one.
    return torch.from_numpy(np.asarray(array, dtype=dtype, order="C"))
