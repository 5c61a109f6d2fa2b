"""SCRL: matched boxes."""
from collections.abc import Sequence

from torch import Tensor

from mmsscl.errors import InputError
from mmsscl.registry import MODELS

from .momentum import MomentumTwoView


@MODELS.register_module()
class SCRL(MomentumTwoView):
    """Spatially Consistent Representation Learning (Roh et al., CVPR 2021, arXiv 2103.06122, section 3).

    Boxes that cover the same part of the photo in both views are pooled by a ``RegionNeck`` and made to agree; there
    is no image-level term. Arguments: see :class:`MomentumTwoView`.
    """

    def select_regions(self, inputs: Sequence[Tensor], pairs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The matched boxes of ``pairs``: ``boxes`` (B, 2, K, 4), ``valid`` (B, K).

        Raises:
            InputError: ``pairs`` lacks one of them.
        """
        missing = [key for key in ("boxes", "valid") if key not in pairs]
        if missing:
            raise InputError(
                f"SCRL: the batch has no pairs[{missing[0]!r}] (it has {sorted(pairs)}). "
                "Put SpatialConsistentPair with boxes=dict(...) into the pipeline."
            )
        return pairs["boxes"].transpose(0, 1).flatten(0, 1), pairs["valid"]
