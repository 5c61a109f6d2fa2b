"""Pick the other view's vector among the keys of earlier images, with a weight for each pair."""
from typing import Any

import torch
import torch.distributed as distributed
import torch.nn.functional as functional
from mmengine.model import BaseModule
from torch import Tensor

from mmsscl.errors import InputError
from mmsscl.models.losses import InfoNCELoss
from mmsscl.registry import MODELS

from .region_predict_head import match_figures, mean_normaliser
from .weighted_predict_head import split_directions


@MODELS.register_module()
class WeightedContrastiveHead(BaseModule):
    """MoCo's loss over a queue of keys (He et al., CVPR 2020; v2: Chen et al., 2020), with weights as SGCL needs.

    Built from the abstract of SGCL (arXiv 2302.11461); how its losses are weighed exactly is not published.
    Both directions are summed, each view being query once and key once (MoCo itself uses one direction). There is no
    predictor: queries are the online projections. As in ``RegionPredictHead`` the mean goes over the valid pairs of
    **all** processes.

    After the loss of a training step the keys of both views and of all processes enter the queue, first view first, in
    place of the oldest, so the keys of a batch are never its own negatives. The queue may have any length; where the
    batch does not divide it, keys wrap around its end. The queue and the place of the next key (``queue_pointer``) are
    buffers and travel in the checkpoint. The place is also kept as a Python number, so that no device is waited for.
    Until it has been filled once, the queue holds fixed random unit vectors, the same in every process.

    A key must not depend on the other images of its batch, or the pair can be told by the statistics they share: train
    with ``target_norm="average"``.

    Args:
        channels: Width of the projections.
        queue_size: Keys kept; MoCo: 65,536 for ImageNet. Fewer than the images of the data set, else negatives
            are earlier views of the same image.
        temperature: MoCo v2: 0.2.
        init_cfg: mmengine's initialisation config; nothing here has weights.

    Raises:
        InputError: An argument out of its range, or projections of another width.
    """

    queue: Tensor
    queue_pointer: Tensor

    needs_averaged_norm = True

    def __init__(
        self,
        channels: int = 128,
        queue_size: int = 65536,
        temperature: float = 0.2,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        for name, value in (("channels", channels), ("queue_size", queue_size)):
            if value < 1:
                raise InputError(f"WeightedContrastiveHead: {name}={value!r} must be at least 1.")
        self.loss_module = InfoNCELoss(temperature)
        # A generator of its own: alike in all processes, and the weights built after it stay as they were.
        start = torch.randn(queue_size, channels, generator=torch.Generator().manual_seed(0))
        self.register_buffer("queue", functional.normalize(start, dim=-1))
        self.register_buffer("queue_pointer", torch.zeros((), dtype=torch.int64))
        self.pointer = 0

    def forward(self, vectors: Tensor) -> Tensor:
        """The projections (N, K, channels) themselves."""
        return vectors

    def predict(self, vectors: Tensor) -> Tensor:
        """Same as :meth:`forward`."""
        return vectors

    def loss(
        self,
        prediction1: Tensor,
        prediction2: Tensor,
        target1: Tensor,
        target2: Tensor,
        valid: Tensor,
        weights: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compare queries of one side with the key of the **other** side and the queue; then take in the keys.

        Args:
            prediction1: (B, K, D) queries, compared with ``target2``.
            prediction2: (B, K, D) queries, compared with ``target1``.
            target1: (B, 1, D), one key an image.
            target2: likewise.
            valid: (B, K) bool, pairs that exist.
            weights: Factors of the pairs, at least 0, no gradient passes: (B, K) for both directions or (2, B, K), row
                0 for ``prediction1`` with ``target2``. Default: all 1.

        Returns:
            ``loss_contrast``: scalar with gradient. Without gradient: the figures of ``RegionPredictHead`` and
            ``contrast_accuracy``: the share of valid queries that are closer to their key than to any other.

        Raises:
            InputError: Several keys an image, another width, or weights of another shape.
        """
        expected = (prediction1.shape[0], 1, self.queue.shape[1])
        if target1.shape != expected or target2.shape != expected:
            raise InputError(
                f"WeightedContrastiveHead: keys have shape {tuple(target1.shape)}, expected {expected}: one vector an "
                "image as wide as channels. Use a GlobalNeck with out_channels=channels; boxes take a "
                "WeightedPredictHead."
            )
        forward, backward = split_directions(weights, valid)
        normaliser = mean_normaliser(valid)
        # A copy: the queue changes before the backward pass, which needs it as it is now.
        negatives = self.queue.clone()
        loss1, best1 = self.loss_module(prediction1, target2, negatives, valid, normaliser, forward)
        loss2, best2 = self.loss_module(prediction2, target1, negatives, valid, normaliser, backward)
        if self.training:
            self.enqueue(torch.cat([target1, target2]).squeeze(1))
        target1, target2 = (target.expand(-1, valid.shape[1], -1) for target in (target1, target2))
        hits = (torch.cat([best1, best2]) & torch.cat([valid, valid])).sum()
        return {
            "loss_contrast": loss1 + loss2,
            **match_figures(prediction1, prediction2, target1, target2, valid),
            "contrast_accuracy": hits / (2 * valid.sum()).clamp(min=1),
        }

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Put the keys of all processes, in order of rank, in place of the oldest.

        Args:
            keys: (M, channels) of this process, M the same in every process; of more than fit, the last stay.
        """
        with torch.autocast(device_type=keys.device.type, enabled=False):
            keys = functional.normalize(keys.detach().float(), dim=-1)
        if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
            parts = [torch.empty_like(keys) for _ in range(distributed.get_world_size())]
            distributed.all_gather(parts, keys.contiguous())
            keys = torch.cat(parts)
        size = self.queue.shape[0]
        keys = keys[-size:]
        # Two slices by Python numbers: nothing here asks the device for a value.
        before_end = min(len(keys), size - self.pointer)
        self.queue[self.pointer : self.pointer + before_end] = keys[:before_end]
        self.queue[: len(keys) - before_end] = keys[before_end:]
        self.pointer = (self.pointer + len(keys)) % size
        self.queue_pointer.fill_(self.pointer)

    def buffers_changed(self) -> None:
        """Take the place of the next key from ``queue_pointer``, which somebody has put back; waits for the device."""
        self.pointer = int(self.queue_pointer)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        saved = state_dict.get(f"{prefix}queue")
        if saved is not None and saved.shape != self.queue.shape:
            # a loader that is not strict would go on with the random keys of the start
            raise InputError(
                f"WeightedContrastiveHead: {prefix}queue in the checkpoint holds {tuple(saved.shape)} (keys, channels), "
                f"here {tuple(self.queue.shape)}. Set queue_size and channels to the checkpoint's, or start anew."
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        pointer = int(self.queue_pointer)
        if not 0 <= pointer < self.queue.shape[0]:
            raise InputError(
                f"WeightedContrastiveHead: {prefix}queue_pointer={pointer} in the checkpoint is outside the queue of "
                f"{self.queue.shape[0]} keys. Set queue_size to the checkpoint's, or start without resuming."
            )
        self.pointer = pointer

    def extra_repr(self) -> str:
        return f"channels={self.queue.shape[1]}, queue_size={self.queue.shape[0]}"
