"""SGCL: crops weighed by saliency."""
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmsscl.errors import InputError
from mmsscl.registry import MODELS
from mmsscl.saliency.batch_weights import batch_crop_weights
from mmsscl.saliency.weights import crop_weights, effective_sample_size, pair_scores

from .momentum import MomentumTwoView

REGIONS = ("global", "boxes", "both")


@MODELS.register_module()
class SGCL(MomentumTwoView):
    """Saliency Guided Contrastive Learning on scene images, over BYOL, MoCo v2 or SCRL.

    Built from the abstract of arXiv 2302.11461 (Chen et al., 2023): a saliency map from the model's own output guides
    the crops, then weighs the losses of different crops. Nothing more is public; everything else, every constant
    included, is ours. The crops are the pipeline's part (``SaliencyCrop``, ``SaliencyBoxes``, ``LocalCrops``); here
    are the losses:

    - ``loss_global`` (regions "global", "both"): the two whole views, in both directions.
    - ``loss_region`` ("boxes", "both"): matched boxes, as SCRL has them.
    - ``loss_local`` (with ``local_head``): small crops through the online network only, each compared with the
      target's vectors of both whole views.

    Weights: a pair of crops scores the geometric mean of its crops' saliency scores, a box its own score. The pairs of
    an image (the views' pair and 2L pairs with local crops) have weights of mean one together, the valid boxes
    of an image likewise; where the guidance is 0 all weights are exactly 1. A single pair an image therefore always
    counts 1: weights matter with local crops, boxes, or ``batch_weights``. A score grows with the share of the saliency
    that a crop covers, so with an even map larger crops count more: of a view's pair and local crops the views' pair
    gets about 1.4, the local ones 0.95. How much of a gain that explains is for the control with the uniform map
    (``configs/sgcl/sgcl_uniform_r50_coco.py``) to say. At strength 0 regions "global" trains as
    BYOL does and "boxes" as SCRL does, bit for bit.

    Args:
        backbone: See :class:`MomentumTwoView`.
        neck: ``GlobalNeck`` for regions "global", ``RegionNeck`` for "boxes", ``GlobalRegionNeck`` for "both".
        head: Head of the whole views, or, with regions "boxes", of the boxes; ``WeightedPredictHead`` (BYOL, SCRL) or
            ``WeightedContrastiveHead`` (MoCo v2; needs ``target_norm="average"``).
        regions: What is compared.
        region_head: Head of the boxes, needed with regions "both". Built after all else, as ``local_head`` is, from a
            copy of the random state: with or without them all other weights start alike.
        local_head: Head of the local crops; needs regions "global" or "both", and ``LocalCrops`` in the pipeline.
        global_weight: Factor of ``loss_global``.
        region_weight: Factor of ``loss_region``.
        local_weight: Factor of ``loss_local``.
        weigh: Weigh the pairs by saliency; ``False``: all count 1.
        weight_clip: Least and greatest weight of a pair before weights are brought to mean one.
        batch_weights: Mean one over the pairs of the whole batch in place of each image's. Whole images then count
            less for low scores: it quietly drops textureless ones.
        **kwargs: ``data_preprocessor``, ``channels_last``, ``compile``, ``target_norm``, ``init_cfg``: see
            :class:`MomentumTwoView`.

    Raises:
        InputError: Parts that do not fit together.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        neck: dict[str, Any],
        head: dict[str, Any],
        regions: str = "global",
        region_head: dict[str, Any] | None = None,
        local_head: dict[str, Any] | None = None,
        global_weight: float = 1.0,
        region_weight: float = 1.0,
        local_weight: float = 1.0,
        weigh: bool = True,
        weight_clip: Sequence[float] = (0.25, 4.0),
        batch_weights: bool = False,
        **kwargs: Any,
    ) -> None:
        if regions not in REGIONS:
            raise InputError(f"SGCL: regions={regions!r} is not known; use one of {', '.join(map(repr, REGIONS))}.")
        if (region_head is not None) != (regions == "both"):
            raise InputError(
                f"SGCL: regions={regions!r} {'needs' if regions == 'both' else 'has no use for'} a region_head; "
                "head is the one of the whole views with 'both', the only one otherwise."
            )
        if local_head is not None and regions == "boxes":
            raise InputError(
                "SGCL: local_head compares local crops with whole views, but regions='boxes' has none. "
                "Use regions='both' with a GlobalRegionNeck, or leave local_head out."
            )
        if not isinstance(weight_clip, Sequence) or len(weight_clip) != 2 or not 0 < weight_clip[0] <= 1 <= weight_clip[1]:
            raise InputError(f"SGCL: weight_clip={weight_clip!r} must be (low, high) with 0 < low <= 1 <= high.")
        super().__init__(backbone, neck, head, **kwargs)
        self.regions = regions
        self.weigh = weigh
        self.batch_weights = batch_weights
        self.weight_clip = (float(weight_clip[0]), float(weight_clip[1]))
        self.factors = {
            "global": float(global_weight), "region": float(region_weight), "local": float(local_weight)
        }
        self.region_head: nn.Module | None = None
        self.local_head: nn.Module | None = None
        with torch.random.fork_rng(devices=[]):
            if region_head is not None:
                self.region_head = MODELS.build(region_head)
            if local_head is not None:
                self.local_head = MODELS.build(local_head)
        extra = [part for part in (self.region_head, self.local_head) if part is not None]
        self._check_norm(*extra)
        compile = kwargs.get("compile", False)
        if compile is not False:
            for part in extra:
                part.compile(**({} if compile is True else dict(compile)))

    def select_regions(self, inputs: Sequence[Tensor], pairs: dict[str, Tensor]) -> tuple[Tensor | None, Tensor]:
        """Boxes of both views, ``None`` with regions "global"; and which pairs are valid.

        Returns:
            (2B, K, 4) or ``None``; (B, K) bool, with regions "both" (B, 1 + K), with "global" (B, 1).

        Raises:
            InputError: ``pairs`` has no boxes.
        """
        whole = torch.ones(len(inputs[0]), 1, dtype=torch.bool, device=inputs[0].device)
        if self.regions == "global":
            return None, whole
        _require(pairs, ("boxes", "valid"), "Put SpatialConsistentPair with boxes=dict(...) into the pipeline.")
        boxes, valid = pairs["boxes"].transpose(0, 1).flatten(0, 1), pairs["valid"]
        return boxes, valid if self.regions == "boxes" else torch.cat([whole, valid], dim=1)

    def loss(self, inputs: Sequence[Tensor], pairs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses and figures to log of one batch of pairs.

        Args:
            inputs: Two normalised views, each (B, 3, H, W).
            pairs: As the pipeline packs them; ``view_scores`` (B, 2), ``box_scores`` (B, K), ``local_scores``
                (B, L) and ``guidance`` (B,) where weights depend on them, ``local_views`` (B, L, 3, s, s) normalised.

        Returns:
            ``loss_global``, ``loss_region``, ``loss_local``: those that exist, with gradient. Without gradient:
            ``positive_cosine``, ``projection_std``, ``boxes_per_image`` of ``head``; those of the boxes, but for
            ``boxes_per_image``, begin with "region_" where both exist, those of local crops with "local_";
            ``effective_sample_size``: (sum w)^2 / (n sum w^2) of an image's weights, mean over the batch, in (0, 1]
            (with ``batch_weights`` of all the batch's weights together);
            ``saliency_guidance``: mean guidance of the batch, in [0, 1].

        Raises:
            InputError: Something is missing from ``pairs``.
        """
        views = self._join(inputs)
        boxes, valid = self.select_regions(inputs, pairs)
        local_count = self._check_local(pairs)
        view_weights, box_weights, figures = self._weights(pairs, len(inputs[0]), local_count)
        # The target goes first: its activations are freed before the online ones are kept for the backward pass.
        with torch.no_grad():
            target = self.target["neck"](self.target["backbone"](views), boxes)
        online = self.neck(self.backbone(views), boxes)
        if online.shape[1] != valid.shape[1]:
            raise InputError(
                f"SGCL: the neck {type(self.neck).__name__} gives {online.shape[1]} vectors a view, but "
                f"regions={self.regions!r} compares {valid.shape[1]}. Use a GlobalNeck for 'global', a RegionNeck for "
                "'boxes', a GlobalRegionNeck for 'both'."
            )
        result: dict[str, Tensor] = {}
        if self.regions == "boxes":
            self._add(result, "region", self.head, self.head(online), target, valid, box_weights)
        else:
            weights = None if view_weights is None else view_weights[:, :1]
            prediction = self.head(online[:, :1])
            self._add(result, "global", self.head, prediction, target[:, :1], valid[:, :1], weights)
        if self.region_head is not None:
            prediction = self.region_head(online[:, 1:])
            self._add(result, "region", self.region_head, prediction, target[:, 1:], valid[:, 1:], box_weights)
        if self.local_head is not None:
            small = self._join(pairs["local_views"].flatten(0, 1))
            local = self.neck(self.backbone(small), None).unflatten(0, (-1, local_count)).squeeze(2)
            prediction = self.local_head(local)
            weights = None
            if view_weights is not None:
                # The first direction goes to view 2: the last L pairs.
                weights = torch.stack([view_weights[:, 1 + local_count :], view_weights[:, 1 : 1 + local_count]])
            everywhere = valid[:, :1].expand(-1, local_count)
            prediction = torch.cat([prediction, prediction])
            self._add(result, "local", self.local_head, prediction, target[:, :1], everywhere, weights)
        return {**result, **figures}

    def _add(
        self,
        result: dict[str, Tensor],
        term: str,
        head: Any,
        prediction: Tensor,
        target: Tensor,
        valid: Tensor,
        weights: Tensor | None,
    ) -> None:
        """Put one term's loss and figures into the result, under names of its own."""
        out: dict[str, Tensor] = head.loss(*prediction.chunk(2), *target.chunk(2), valid, weights)
        boxes = out.pop("boxes_per_image")
        if term == "region" or (term == "global" and self.regions == "global"):
            result["boxes_per_image"] = boxes
        for name, value in out.items():
            if name.startswith("loss"):
                result[f"loss_{term}"] = value * self.factors[term]
            else:
                result[name if head is self.head else f"{term}_{name}"] = value

    def _weights(
        self, pairs: dict[str, Tensor], images: int, local_count: int
    ) -> tuple[Tensor | None, Tensor | None, dict[str, Tensor]]:
        """Weights of the views' and local pairs (B, 1 + 2L), of the boxes (B, K), and figures to log."""
        figures = {}
        if "guidance" in pairs:
            figures["saliency_guidance"] = pairs["guidance"].float().mean()
        view_weights: Tensor | None = None
        box_weights: Tensor | None = None
        parts: list[tuple[Tensor, Tensor]] = []
        # A single pair an image counts 1 whatever its score.
        if self.weigh and self.regions != "boxes" and (local_count or self.batch_weights):
            _require(pairs, ("view_scores", "guidance"), _SCORES)
            first, second = pairs["view_scores"].unbind(1)
            scores = pair_scores(first, second).unsqueeze(1)
            if local_count:
                _require(pairs, ("local_scores",), _SCORES)
                with_first = pair_scores(pairs["local_scores"], first.unsqueeze(1))
                with_second = pair_scores(pairs["local_scores"], second.unsqueeze(1))
                scores = torch.cat([scores, with_first, with_second], dim=1)
            all_valid = torch.ones_like(scores, dtype=torch.bool)
            view_weights = self._weigh(scores, all_valid, pairs["guidance"])
            parts.append((view_weights, all_valid))
        if self.weigh and self.regions != "global":
            _require(pairs, ("box_scores", "guidance"), _SCORES)
            box_weights = self._weigh(pairs["box_scores"], pairs["valid"], pairs["guidance"])
            parts.append((box_weights, pairs["valid"]))
        if parts:
            weights, valid = (torch.cat(list(values), dim=1) for values in zip(*parts))
            if self.batch_weights:
                # Here the pairs of all images compete.
                weights, valid = weights.flatten()[None], valid.flatten()[None]
            figures["effective_sample_size"] = effective_sample_size(weights, valid)
        return view_weights, box_weights, figures

    def _weigh(self, scores: Tensor, valid: Tensor, guidance: Tensor) -> Tensor:
        law = batch_crop_weights if self.batch_weights else crop_weights
        weights: Tensor = law(scores, valid, guidance, self.weight_clip)
        return weights

    def _check_local(self, pairs: dict[str, Tensor]) -> int:
        """Number of local crops an image that take part."""
        if self.local_head is None:
            return 0
        _require(pairs, ("local_views",), "Put LocalCrops into the pipeline, or leave local_head out of the model.")
        images, count = pairs["local_views"].shape[:2]
        if images * count < 2 and self.training:
            raise InputError(
                "SGCL: one image with one local crop is too little for BatchNorm; raise train_dataloader.batch_size "
                "or LocalCrops' number to 2."
            )
        return int(count)


_SCORES = "Put LoadSaliency and ScoreCrops into the pipeline, or set model.weigh=False."


def _require(pairs: dict[str, Tensor], keys: Sequence[str], remedy: str) -> None:
    missing = [key for key in keys if key not in pairs]
    if missing:
        raise InputError(f"SGCL: the batch has no pairs[{missing[0]!r}] (it has {sorted(pairs)}). {remedy}")
