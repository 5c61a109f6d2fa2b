"""BYOL: whole views."""
from collections.abc import Sequence

import torch
from torch import Tensor

from mmsscl.registry import MODELS

from .momentum import MomentumTwoView


@MODELS.register_module()
class BYOL(MomentumTwoView):
    """Bootstrap Your Own Latent (Grill et al., 2020, arXiv 2006.07733, section 3): the image-level baseline.

    One vector a view, from a ``GlobalNeck``; every pair counts. The same code as SCRL otherwise, so that a comparison
    of the two is one of methods. Arguments: see :class:`MomentumTwoView`.
    """

    def select_regions(self, inputs: Sequence[Tensor], pairs: dict[str, Tensor]) -> tuple[None, Tensor]:
        """The whole view, for every image."""
        return None, torch.ones(len(inputs[0]), 1, dtype=torch.bool, device=inputs[0].device)
