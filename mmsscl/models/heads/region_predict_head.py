"""Predict the other view's vector of the same region."""
from typing import Any

import torch
import torch.distributed as distributed
import torch.nn.functional as functional
from mmengine.model import BaseModule
from torch import Tensor

from mmsscl.models.layers import ProjectionMLP
from mmsscl.registry import MODELS


@MODELS.register_module()
class RegionPredictHead(BaseModule):
    """A predictor and a loss over matched vectors, in both directions (SCRL, section 3.3).

    BYOL uses it with one vector an image. The loss of a direction is the mean over the valid boxes of **all**
    processes together, and the two directions are summed, as in the authors' code. Since DistributedDataParallel
    averages gradients over processes, each process divides its sum by ``global count / world size``: two processes
    then give the gradient of one on the same global batch, and the mean of their losses is its loss. Without any valid
    box the loss is 0 and so are all gradients.

    Args:
        in_channels: Width of the online projections.
        hidden_channels: Width of the predictor's hidden layer.
        out_channels: Width of the target projections.
        norm_cfg: Norm of the predictor, default: SyncBN, on a machine without a GPU BN.
        loss: Config of the loss, default ``dict(type="mmsscl.CosineLoss")``.
        init_cfg: mmengine's initialisation config; ``None`` keeps torch's defaults.
    """

    def __init__(
        self,
        in_channels: int = 256,
        hidden_channels: int = 4096,
        out_channels: int = 256,
        norm_cfg: dict[str, Any] | None = None,
        loss: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.predictor = ProjectionMLP(in_channels, hidden_channels, out_channels, norm_cfg)
        self.loss_module = MODELS.build(loss if loss is not None else {"type": "mmsscl.CosineLoss"})

    def forward(self, vectors: Tensor) -> Tensor:
        """Same as :meth:`predict`; the entry that ``torch.compile`` sees."""
        rows: Tensor = self.predictor(vectors.flatten(0, 1))
        return rows.unflatten(0, (vectors.shape[0], vectors.shape[1]))

    def predict(self, vectors: Tensor) -> Tensor:
        """Predict target vectors (N, K, out_channels) from online ones (N, K, in_channels)."""
        predictions: Tensor = self(vectors)
        return predictions

    def loss(
        self, prediction1: Tensor, prediction2: Tensor, target1: Tensor, target2: Tensor, valid: Tensor
    ) -> dict[str, Tensor]:
        """Compare each view's predictions with the **other** view's targets.

        Args:
            prediction1: (B, K, D) predictions from view 1.
            prediction2: (B, K, D) predictions from view 2.
            target1: (B, K, D) target projections of view 1.
            target2: (B, K, D) target projections of view 2.
            valid: (B, K) bool, boxes that exist.

        Returns:
            ``loss_cosine``: scalar with gradient, in [0, 8]. Without gradient, over this process's valid boxes:
            ``positive_cosine``: mean cosine of prediction and target, in [-1, 1];
            ``projection_std``: see :func:`projection_spread`;
            ``boxes_per_image``: valid boxes an image.
        """
        normaliser = mean_normaliser(valid)
        loss = self.loss_module(prediction1, target2, valid, normaliser)
        loss = loss + self.loss_module(prediction2, target1, valid, normaliser)
        return {"loss_cosine": loss, **match_figures(prediction1, prediction2, target1, target2, valid)}


def mean_normaliser(valid: Tensor) -> Tensor:
    """What a process divides its sum by, so that averaging over processes gives the mean over all valid boxes.

    Args:
        valid: (B, K) bool of this process.

    Returns:
        Scalar float32: number of valid boxes of all processes (at least 1) divided by the number of processes.
    """
    count = valid.sum().float()
    world_size = 1
    if distributed.is_available() and distributed.is_initialized():
        world_size = distributed.get_world_size()
        if world_size > 1:
            distributed.all_reduce(count)
    return count.clamp(min=1.0) / world_size


def projection_spread(vectors: Tensor, valid: Tensor) -> Tensor:
    """Standard deviation of unit vectors, mean over dimensions, times sqrt(D): 0 is collapse.

    Directions spread uniformly over the sphere give about 1 (SimSiam, Chen and He, 2021, section 4.1, scaled).

    Args:
        vectors: (N, K, D).
        valid: (N, K) bool; other rows are left out.

    Returns:
        Scalar float32 in [0, 1] (a little more by chance); 0 without valid rows.
    """
    with torch.autocast(device_type=vectors.device.type, enabled=False):
        unit = functional.normalize(vectors.float(), dim=-1).flatten(0, 1)
        weight = valid.reshape(-1, 1).float()
        weight = weight / weight.sum().clamp(min=1.0)
        mean = (unit * weight).sum(0)
        variance = ((unit - mean).square() * weight).sum(0)
        return variance.sqrt().mean() * vectors.shape[-1] ** 0.5


@torch.no_grad()
def match_figures(
    prediction1: Tensor, prediction2: Tensor, target1: Tensor, target2: Tensor, valid: Tensor
) -> dict[str, Tensor]:
    """Figures to log; no name holds "loss", so that mmengine does not add them to the loss.

    Args:
        prediction1: (B, K, D), compared with ``target2``.
        prediction2: (B, K, D), compared with ``target1``.
        target1: (B, K, D).
        target2: (B, K, D).
        valid: (B, K) bool; other rows are left out.

    Returns:
        Scalars without gradient: ``positive_cosine``, ``projection_std`` (of the targets), ``boxes_per_image``.
    """
    targets = torch.cat([target1, target2])
    both_valid = torch.cat([valid, valid])
    cosine = functional.cosine_similarity(
        torch.cat([prediction1, prediction2]).float(), torch.cat([target2, target1]).float(), dim=-1
    )
    positive = cosine.masked_fill(~both_valid, 0.0).sum() / both_valid.sum().clamp(min=1)
    return {
        "positive_cosine": positive,
        "projection_std": projection_spread(targets, both_valid),
        "boxes_per_image": valid.float().sum(1).mean(),
    }
