"""From a batch of images to saliency maps: one function for the refresh in training and for evaluation."""
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmsscl.datasets.encoded_image import EncodedImage
from mmsscl.errors import InputError
from mmsscl.saliency.estimators import EstimatedSaliency, SaliencyEstimator
from mmsscl.saliency.normalise import average_mirrored, entropy_trust, normalise_maps


def extract_maps(
    backbone: nn.Module, neck: nn.Module | None, estimator: SaliencyEstimator, images: Tensor, mirror: bool = True
) -> tuple[Tensor, Tensor]:
    """Saliency maps of whole images, as the network sees them now.

    The modules are used in the mode they are in; put them in eval mode first (:func:`evaluating`), or a map depends on
    the other images of its batch by BatchNorm. The backbone runs without gradient, under the caller's autocast if there
    is one; all that follows is in float32. An estimator that needs a gradient (``ContrastiveCAM``) takes it through
    pooling and projector only.

    Args:
        backbone: images in, feature maps out; the last one is used.
        neck: whose ``projector``, (N, C) to (N, D), the estimator may use; None for estimators that need none.
        estimator: a ``SaliencyEstimator``.
        images: float32 (N, 3, H, W), normalised for the backbone, the upright images squashed to one size.
        mirror: average each map with the map of the mirrored image, mirrored back; twice the cost. Each is normalised
            before, so where the two disagree the average is flatter and its trust lower. Estimators that compare views
            get the features of the mirrored images as those of a second view.

    Returns:
        maps: float32 (N, h, w) in [0, 1], h and w those of the feature map, detached.
        trust: float32 (N,) in [0, 1]: from the map's entropy (``entropy_trust``) times the estimator's own.

    Raises:
        InputError: ``images`` is not (N, 3, H, W) with N at least 1.

    Example:
        >>> with evaluating(target):
        ...     maps, trust = extract_maps(target["backbone"], target["neck"], ActivationSaliency(), images)
    """
    if images.ndim != 4 or images.shape[1] != 3 or len(images) == 0:
        raise InputError(f"extract_maps: images has shape {tuple(images.shape)}; give a batch (N, 3, H, W), N >= 1.")
    project = projector_of(neck)
    features = _features(backbone, images)
    if not mirror:
        estimated = estimator.estimate(features, project)
        maps = normalise_maps(estimated.maps)
        return maps, entropy_trust(maps) * estimated.trust
    mirrored = _features(backbone, images.flip(-1))
    one: EstimatedSaliency = estimator.estimate(features, project, positives=mirrored)
    other: EstimatedSaliency = estimator.estimate(mirrored, project, positives=features)
    maps = average_mirrored(normalise_maps(one.maps), normalise_maps(other.maps))
    return maps, entropy_trust(maps) * (one.trust + other.trust) / 2


def projector_of(neck: nn.Module | None) -> Callable[[Tensor], Tensor] | None:
    """The part of a neck that takes pooled features (N, C) to projections (N, D); None where there is none."""
    projector = getattr(neck, "projector", None)
    return projector if isinstance(projector, nn.Module) else None


def squash_image(image: EncodedImage, size: int) -> Tensor:
    """A whole image, upright, squashed to a square: what maps are extracted from.

    The side ratio is not kept, so that a map cell is the same share of every image and nothing is padded or cut. A large
    JPEG is decoded at a part of its size first.

    Args:
        image: the encoded image.
        size: side of the square in pixels.

    Returns:
        uint8 (3, size, size), RGB, contiguous: antialiased bicubic, as the training views are made.
    """
    pixels = image.decode(image.best_reduction(min(image.height, image.width) / size))
    # a (h, w, 3) block seen as (1, 3, h, w) is channels-last: torch's fast uint8 kernel
    planes = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    return functional.interpolate(planes, size=(size, size), mode="bicubic", antialias=True)[0].contiguous()


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Put modules and all below them in eval mode; afterwards each is in the mode it was in, errors included."""
    before = [(part, part.training) for module in modules for part in module.modules()]
    try:
        for module in modules:
            module.eval()
        yield
    finally:
        for part, training in before:
            part.training = training


@torch.no_grad()
def _features(backbone: nn.Module, images: Tensor) -> Tensor:
    """The last feature map. A gradient, where the estimator takes one, does not reach into the backbone."""
    features = backbone(images)
    last: Tensor = features if isinstance(features, Tensor) else features[-1]
    return last.float()
