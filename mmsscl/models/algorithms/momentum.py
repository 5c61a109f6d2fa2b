"""Two networks, two views: what BYOL, SCRL and SGCL share."""
from abc import abstractmethod
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmsscl.errors import InputError
from mmsscl.models.layers import update_average
from mmsscl.registry import MODELS


class MomentumTwoView(BaseModel):
    """An online network that predicts a slowly moving average of itself (the target) on another view.

    - The target starts as a copy of the online backbone and neck, made after they are initialised or loaded
      (:meth:`init_weights`); a checkpoint without target weights fills it from the online ones.
    - Both views go through each network as one batch of 2B images, so BatchNorm sees them together.
    - The target gets no gradient. Its parameters follow by :meth:`update_target`, which ``MomentumUpdateHook`` calls
      after each optimizer step. By default it runs on batch statistics in training (train mode), and its BatchNorm
      buffers are not averaged: its own forward passes keep them. See ``target_norm`` for the other way.
    - Optimizers are given the target's parameters too (mmengine passes all), but these never have a gradient: every
      torch optimizer and ``LARS`` skips them and keeps no state for them.

    Args:
        backbone: Config of a backbone that returns feature maps, e.g.
            ``dict(type="mmpretrain.ResNet", depth=50, out_indices=(3,), norm_cfg=dict(type="SyncBN"))``;
            ``strides=(1, 2, 2, 1)`` gives layer4 at stride 16.
        neck: Config of a neck, features and boxes in, vectors (N, K, D) out.
        head: Config of a head with ``forward(vectors)`` and ``loss(...)``.
        data_preprocessor: Config of the data preprocessor.
        channels_last: Keep images and convolution weights in channels_last memory (faster convolutions; same results).
        compile: ``torch.compile`` backbone, neck and head, one by one; a dict gives the options, e.g.
            ``dict(mode="max-autotune-no-cudagraphs")``. Checkpoint keys stay the same.
        target_norm: "batch": the target runs in train mode, as in BYOL and SCRL. "average": it always runs in eval
            mode, and its BatchNorm buffers are moving averages of the online ones like its parameters (EMAN, Cai et
            al., CVPR 2021). An image's target vector then depends on that image alone, so that a contrastive loss
            cannot be solved by statistics which the images of a batch share.
        init_cfg: mmengine's initialisation config.

    Raises:
        InputError: Another ``target_norm``, or not "average" with a contrastive head.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        neck: dict[str, Any],
        head: dict[str, Any],
        data_preprocessor: dict[str, Any] | None = None,
        channels_last: bool = True,
        compile: bool | dict[str, Any] = False,
        target_norm: str = "batch",
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        # Built here: mmengine would look it up in its own registry, which finds ours only under a default scope.
        super().__init__(MODELS.build(data_preprocessor) if data_preprocessor is not None else None, init_cfg)
        if target_norm not in ("batch", "average"):
            raise InputError(
                f"{type(self).__name__}: target_norm={target_norm!r} is not known; use 'batch' or 'average'."
            )
        self.target_norm = target_norm
        self.channels_last = channels_last
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        self.head = MODELS.build(head)
        self._check_norm(self.head)
        if channels_last:
            self.backbone.to(memory_format=torch.channels_last)
        self.target = nn.ModuleDict({"backbone": deepcopy(self.backbone), "neck": deepcopy(self.neck)})
        self.target.requires_grad_(False)
        if target_norm == "average":
            self.target.eval()
        self._register_load_state_dict_pre_hook(_fill_missing_target)
        if compile is not False:
            options = {} if compile is True else dict(compile)
            for module in (self.backbone, self.neck, self.head, *self.target.values()):
                module.compile(**options)

    def _check_norm(self, *heads: nn.Module) -> None:
        """Refuse a contrastive head over a target whose keys tell their pairs by shared statistics."""
        if self.target_norm != "average" and any(getattr(head, "needs_averaged_norm", False) for head in heads):
            raise InputError(
                f"{type(self).__name__}: a contrastive head with target_norm={self.target_norm!r} can tell its pairs by the "
                "statistics that the images of a batch share. Set model.target_norm='average'."
            )

    def train(self, mode: bool = True) -> "MomentumTwoView":
        """Set the mode of the online network, and of the target unless it runs on averaged statistics."""
        super().train(mode)
        if self.target_norm == "average":
            self.target.eval()
        return self

    def init_weights(self) -> None:
        """Initialise (or load, by ``init_cfg``) the online network, then copy it into the target."""
        super().init_weights()
        self.copy_online_to_target()

    @torch.no_grad()
    def copy_online_to_target(self) -> None:
        """Make the target equal to the online backbone and neck, buffers included."""
        for name, target in self.target.items():
            target.load_state_dict(getattr(self, name).state_dict())

    def update_target(self, momentum: float) -> None:
        """Move the target's parameters: ``momentum * target + (1 - momentum) * online``.

        With ``target_norm="average"`` its floating-point buffers too; BatchNorm's counters are copied.

        Args:
            momentum: Share of the target that stays, in [0, 1]; a Python number, so that no device is waited for.
        """
        online: list[Tensor] = [*self.backbone.parameters(), *self.neck.parameters()]
        average: list[Tensor] = list(self.target.parameters())
        if self.target_norm == "average":
            buffers = list(zip(self.target.buffers(), [*self.backbone.buffers(), *self.neck.buffers()]))
            average += [mine for mine, _ in buffers if mine.is_floating_point()]
            online += [other for _, other in buffers if other.is_floating_point()]
            for mine, other in buffers:
                if not mine.is_floating_point():
                    mine.copy_(other)
        update_average(average, online, momentum)

    def forward(
        self, inputs: Sequence[Tensor] | Tensor, pairs: dict[str, Tensor] | None = None, mode: str = "tensor"
    ) -> dict[str, Tensor] | tuple[Tensor, ...]:
        """Run.

        Args:
            inputs: Two normalised views, each (B, 3, H, W); for "tensor" also one tensor.
            pairs: What the pipeline knows about the views, for "loss".
            mode: "loss": losses and figures to log; "tensor": the online backbone's features of ``inputs`` (of both
                views, first view first, where two are given).

        Returns:
            A dict of scalars for "loss", a tuple of feature maps for "tensor".

        Raises:
            InputError: Another mode, or "loss" without two views and ``pairs``.
        """
        if mode == "tensor":
            features: tuple[Tensor, ...] = self.backbone(self._join(inputs))
            return features
        if mode == "loss":
            if isinstance(inputs, Tensor) or len(inputs) != 2 or pairs is None:
                raise InputError(
                    f"{type(self).__name__}: mode='loss' needs inputs=[view1, view2] and pairs=dict(...). "
                    "Let the pipeline end in PackPair."
                )
            return self.loss(inputs, pairs)
        raise InputError(f"{type(self).__name__}: mode={mode!r} is not known; use 'loss' or 'tensor'.")

    def loss(self, inputs: Sequence[Tensor], pairs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses and figures to log of one batch of pairs."""
        views = self._join(inputs)
        boxes, valid = self.select_regions(inputs, pairs)
        # The target goes first: its activations are freed before the online ones are kept for the backward pass.
        with torch.no_grad():
            target1, target2 = self.target["neck"](self.target["backbone"](views), boxes).chunk(2)
        prediction1, prediction2 = self.head(self.neck(self.backbone(views), boxes)).chunk(2)
        losses: dict[str, Tensor] = self.head.loss(prediction1, prediction2, target1, target2, valid)
        return losses

    @abstractmethod
    def select_regions(
        self, inputs: Sequence[Tensor], pairs: dict[str, Tensor]
    ) -> tuple[Tensor | None, Tensor]:
        """What is compared.

        Returns:
            Boxes (2B, K, 4) of all first views, then all second views, or ``None`` for whole views; and which are
            valid, (B, K) bool.
        """

    def _join(self, inputs: Sequence[Tensor] | Tensor) -> Tensor:
        images = inputs if isinstance(inputs, Tensor) else torch.cat(list(inputs))
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images


def _fill_missing_target(state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Start the target from the loaded online network where a checkpoint has none: never from other weights."""
    if any(key.startswith(f"{prefix}target.") for key in state_dict):
        return
    online = {
        f"{prefix}target.{key[len(prefix):]}": value
        for key, value in state_dict.items()
        if key.startswith((f"{prefix}backbone.", f"{prefix}neck."))
    }
    if online:
        print_log("The checkpoint holds no target network: it starts as a copy of the online one.", logger="current")
        state_dict.update(online)
