"""Saliency as what tells an image from the others of its batch."""
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from mmsscl.errors import InputError
from mmsscl.registry import MODELS
from mmsscl.saliency.estimators.activation_saliency import activation_map
from mmsscl.saliency.estimators.base import EstimatedSaliency, Projection, SaliencyEstimator

# Relative change of the similarity for a relative change of the pooled vector below which only rounding noise is left.
_LEAST_SLOPE = 1e-4


@MODELS.register_module()
class ContrastiveCAM(SaliencyEstimator):
    """Class activation map of a contrastive score, with the other images of the batch as negatives.

    After ContraCAM (Mo et al., NeurIPS 2021). With the projection ``q_i`` of image i pooled over its map and the
    projections ``k_j`` of all images of the batch, held fixed, the score is
    ``log_softmax_j(cos(q_i, k_j) / temperature)[i]``, and the map is ``ReLU(sum_c max(0, a_c) F_c)``, a_c the mean over
    the map of the score's gradient with respect to channel c. The gradient passes the pooling and the projector only.

    **The positive** ``k_i``. There is one view an image, so ``k_i`` is the whole image itself. In the first round
    ``q_i = k_i``, where a cosine is largest and has no slope: the map shows what sets the image apart from the
    negatives, and they alone (closer ones more). In later rounds ``q_i`` is pooled from what earlier rounds left, so
    the positive pulls: what, among the rest, still makes it this image. With ``positives`` (features of, say, the
    mirrored images) their projections are all the keys, and the positive pulls from the first round on.

    **Rounds.** Each round's map is divided by its largest value, and the rounds are combined by their maximum m, as in
    ContraCAM. Round t pools over the cells weighted by ``1 - m`` and weighs its own map so too: what the earlier rounds
    found is gone, and the next thing comes out as clear as the first, be it an object or not. ContraCAM erases in
    the image instead, at one more forward pass a round.

    **Fallback.** There is nothing to contrast in a batch of one, nor for an image whose score has no slope or no
    channel that raises it (all images equal, collapsed projections, zero features): its map is that of
    ``ActivationSaliency``.

    A map depends on the images it shares the batch with; batches of 32 and more, in random order, are advised.

    Args:
        temperature: Of the softmax; low: the nearest negatives count most.
        rounds: Erase-and-repeat rounds, at least 1.

    Raises:
        InputError: A temperature that is not positive, or no round.
    """

    def __init__(self, temperature: float = 0.2, rounds: int = 1) -> None:
        super().__init__()
        if temperature <= 0:
            raise InputError(f"ContrastiveCAM: temperature={temperature!r} must be positive, e.g. 0.2.")
        if rounds < 1:
            raise InputError(f"ContrastiveCAM: rounds={rounds!r} must be at least 1.")
        self.temperature = temperature
        self.rounds = rounds

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, rounds={self.rounds}"

    def _estimate(self, features: Tensor, project: Projection | None, positives: Tensor | None) -> EstimatedSaliency:
        _check_eval(project)
        fallback, trust = activation_map(features), features.new_ones(len(features))
        if positives is not None and positives.shape[:2] != features.shape[:2]:
            raise InputError(
                f"ContrastiveCAM: positives of shape {tuple(positives.shape)} for features {tuple(features.shape)}. "
                "Pass the same images in the same order, e.g. mirrored."
            )
        if len(features) < 2:
            return EstimatedSaliency(fallback, trust)
        keys = self._unit_projections(_pool(features if positives is None else positives), project)
        combined = torch.zeros_like(fallback)
        for _ in range(self.rounds):
            kept = 1.0 - combined
            weights = self._channel_weights(_pool(features, kept), keys, project)
            found = torch.einsum("nchw,nc->nhw", features, weights).clamp_min(0.0) * kept
            combined = torch.maximum(combined, _to_largest_one(found))
        empty = combined.amax((1, 2), keepdim=True) <= 0
        return EstimatedSaliency(torch.where(empty, fallback, combined), trust)

    def _channel_weights(self, pooled: Tensor, keys: Tensor, project: Projection | None) -> Tensor:
        """(N, C): gradient of each image's score with respect to its pooled vector, where positive; else 0.

        The mean over the map of the gradient with respect to the map is this up to a factor per image, which the map's
        scale takes away. So does it the factor between the log-softmax and the margin before it, which is used because
        its gradient does not fade as an image is told apart better.
        """
        # Callers may be in inference mode, whose tensors autograd refuses: a copy made outside of it is a normal tensor.
        with torch.inference_mode(False), torch.enable_grad():
            vectors = pooled.clone().requires_grad_()
            similarity = self._unit_projections(vectors, project) @ keys.mT / self.temperature
            if not similarity.requires_grad:
                raise InputError(
                    "ContrastiveCAM: no gradient passes the projector. Pass it as it is, not wrapped in torch.no_grad()."
                )
            itself = torch.eye(len(keys), dtype=torch.bool, device=keys.device)
            margin = similarity.diagonal() - similarity.masked_fill(itself, -torch.inf).logsumexp(1)
            (gradient,) = torch.autograd.grad(margin.sum(), vectors)
        slope = self.temperature * gradient.norm(dim=1) * pooled.norm(dim=1)
        return gradient.clamp_min(0.0).masked_fill((slope < _LEAST_SLOPE)[:, None], 0.0)

    @staticmethod
    def _unit_projections(vectors: Tensor, project: Projection | None) -> Tensor:
        with torch.inference_mode(False):
            vectors = vectors.clone()
            return functional.normalize((vectors if project is None else project(vectors)).float(), dim=-1)


def _pool(features: Tensor, kept: Tensor | None = None) -> Tensor:
    """(N, C): mean over the map, each cell weighted by ``kept`` (N, h, w)."""
    if kept is None:
        return features.mean((2, 3))
    total = kept.sum((1, 2)).clamp_min(torch.finfo(kept.dtype).tiny)
    return torch.einsum("nchw,nhw->nc", features, kept) / total[:, None]


def _to_largest_one(maps: Tensor) -> Tensor:
    """Not negative maps, each divided by its largest value; zeros stay."""
    largest = maps.amax((1, 2), keepdim=True)
    return maps / torch.where(largest > 0, largest, 1.0)


def _check_eval(project: Projection | None) -> None:
    """A norm on batch statistics would mix the images' gradients, and a pass would move its buffers."""
    if isinstance(project, nn.Module) and any(
        module.training for module in project.modules() if isinstance(module, _BatchNorm | _DropoutNd)
    ):
        raise InputError("ContrastiveCAM: the projector is in training mode. Call model.eval() before estimating.")
