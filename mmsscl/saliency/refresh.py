"""One pass over a data set that makes all its saliency maps anew, shared out over the ranks."""
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce, get_rank, get_world_size
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from mmsscl.datasets.transforms.loading import LoadSceneImage
from mmsscl.errors import UnreadableImageError
from mmsscl.random_states import RandomStates
from mmsscl.rank_errors import failing_together
from mmsscl.saliency.baseline_maps import gaussian_map
from mmsscl.saliency.estimators import SaliencyEstimator
from mmsscl.saliency.extract import evaluating, extract_maps, squash_image
from mmsscl.saliency.fingerprint import image_path
from mmsscl.saliency.normalise import entropy_trust, resize_maps
from mmsscl.saliency.store import SaliencyStore


class WholeImages(Dataset):
    """The images of another data set, un-augmented: each whole, upright, squashed to one square.

    Where that data set substitutes photos that cannot be read, they are even gray ones here: nothing looks at their maps.

    Args:
        dataset: ``SceneImages``, or a data set of mmengine's kind; only its paths are used, and what it keeps decoded.
        size: Side of the square in pixels.
        loader: Reads the files; default: ``LoadSceneImage()``.
    """

    def __init__(self, dataset: Any, size: int, loader: LoadSceneImage | None = None) -> None:
        self.dataset = dataset
        self.size = size
        self.loader = loader or LoadSceneImage()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        """The index, and uint8 (3, size, size).

        Raises:
            UnreadableImageError: The file is absent or damaged, and the data set does not substitute it.
        """
        try:
            photos = getattr(self.dataset, "decoded_photos", None)
            results = self.loader(
                {"img_path": image_path(self.dataset, index), "sample_idx": index, "decoded_photos": photos}
            )
            return index, squash_image(results["image"], self.size)
        except UnreadableImageError:
            if not getattr(self.dataset, "substitutes_bad", False):
                raise
            return index, torch.full((3, self.size, self.size), 128, dtype=torch.uint8)


def refresh_batches(count: int, batch_size: int, seed: int) -> list[list[int]]:
    """The batches of one pass, the same for any number of ranks.

    Estimators may contrast the images of a batch, so the order is random (neighbours in a folder look alike) and the last
    batch is filled up with the images of the first: all are of one size, and no image is in a batch twice.

    Args:
        count: Number of images.
        batch_size: Images of a batch; with fewer images there is one smaller batch.
        seed: Of the order.

    Returns:
        Lists of indices; each index is among the first ``count`` of their concatenation exactly once.
    """
    order = np.random.default_rng(seed).permutation(count)
    size = min(batch_size, count)
    whole: list[list[int]] = np.resize(order, -(-count // size) * size).reshape(-1, size).tolist()
    return whole


def refresh_maps(
    model: nn.Module,
    estimator: SaliencyEstimator,
    images: WholeImages,
    previous: SaliencyStore,
    momentum: float = 0.5,
    batch_size: int = 64,
    mirror: bool = True,
    num_workers: int = 0,
    seed: int = 0,
    **loader_options: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Make all maps by the model's target network, in eval mode; call it on all ranks.

    Whole batches go to the ranks in turn and the estimator sees one batch at a time, so the result is the same for any
    number of ranks. It changes nothing that training depends on: modes, BatchNorm statistics and gradients stay, and
    the random state of torch, numpy and Python is put back. Images are read by worker processes of its own.

    Where ``previous`` holds maps, the new ones are averaged with them. The trust is averaged too, and is at most that
    of the averaged map's own entropy: where two refreshes disagree, the average is flat.

    Args:
        model: Has ``target`` (with "backbone" and "neck") and a ``data_preprocessor`` with ``mean`` and ``std``;
            ``channels_last`` is followed.
        estimator: On the model's device.
        images: What to look at.
        previous: The store with the maps so far; its ``size`` is the maps' grid.
        momentum: Share of the previous maps that stays, in [0, 1).
        batch_size: Images of a batch.
        mirror: Average with the map of the mirrored image.
        num_workers: Processes that read images; 0: this one.
        seed: Of the order in which images meet in batches.
        **loader_options: Of the data loader, e.g. ``pin_memory``.

    Returns:
        uint8 (N, s, s) maps and uint8 (N,) trusts, on every rank.

    Raises:
        InputError: An image is absent or damaged: on all ranks, whichever met it.
    """
    device = next(model.parameters()).device
    batches = refresh_batches(len(images), batch_size, seed)
    own = list(range(get_rank(), len(batches), get_world_size()))
    loader = DataLoader(
        images, batch_sampler=[batches[position] for position in own], num_workers=num_workers,
        generator=torch.Generator().manual_seed(0), **loader_options,
    )  # fmt: skip
    preprocessor: Any = model.data_preprocessor
    target: Any = model.target
    found: list[Tensor] = []
    rows: list[Tensor] = []
    every = torch.zeros(len(images), previous.size**2 + 1, dtype=torch.uint8)
    with failing_together(), untouched_randomness(), evaluating(target, estimator), uncompiled(target):
        for position, (indices, pixels) in zip(own, loader):
            views = pixels.to(device, non_blocking=True).float().sub_(preprocessor.mean).div_(preprocessor.std)
            if getattr(model, "channels_last", False):
                views = views.contiguous(memory_format=torch.channels_last)
            maps, trust = extract_maps(target["backbone"], target["neck"], estimator, views, mirror)
            maps = resize_maps(maps, previous.size)
            if previous.version > 0:
                old_maps, old_trust = (torch.from_numpy(part).to(device) for part in previous.read_many(indices.numpy()))
                maps = torch.lerp(maps, old_maps, momentum)
                trust = torch.minimum(torch.lerp(trust, old_trust, momentum), entropy_trust(maps))
            # the fillers of the last batch were seen in the first
            kept = min(len(indices), len(images) - position * len(batches[0]))
            numbers = torch.cat([maps.flatten(1), trust[:, None]], 1)[:kept]
            found.append(numbers.mul(255).round_().clamp_(0, 255).to(torch.uint8))
            rows.append(indices[:kept])
        if found:
            every[torch.cat(rows)] = torch.cat(found).cpu()
    # each row is written by one rank and zero on the others
    all_reduce(every)
    grid = every[:, :-1].reshape(len(images), previous.size, previous.size)
    return grid.numpy(), every[:, -1].numpy()


def map_figures(maps: np.ndarray, trust: np.ndarray) -> dict[str, float]:
    """What to watch of a refresh.

    Args:
        maps: uint8 (N, s, s).
        trust: uint8 (N,).

    Returns:
        Means over the images: ``entropy`` of the map as shares of one, over that of an even map, in [0, 1] (1: even);
        ``trust`` in [0, 1]; ``border``, the share of a map's mass in its outermost ring of cells, in [0, 1] (an even map
        has the ring's share of the cells, .27 of 14 x 14; much more means the maps have turned inside out;
        ``GeodesicSaliency`` has 0 there by construction); ``centre``, the correlation of a map with a centred
        Gaussian, in [-1, 1] (near 1 the maps say where photographers aim, and no more; 0 for an even map).
    """
    count, size = maps.shape[:2]
    entropy = border = centre = 0.0
    gaussian = torch.from_numpy(gaussian_map(size)).double().flatten()
    gaussian = functional.normalize(gaussian - gaussian.mean(), dim=0)
    for start in range(0, count, 4096):
        values = torch.from_numpy(maps[start : start + 4096]).double()
        # a map of zeros is an even one
        values = torch.where(values.sum((1, 2), keepdim=True) > 0, values, 1.0)
        shares = values / values.sum((1, 2), keepdim=True)
        entropy -= float(torch.xlogy(shares, shares).sum())
        border += float(len(shares) - shares[:, 1:-1, 1:-1].sum())
        flat = values.flatten(1)
        centre += float((functional.normalize(flat - flat.mean(1, keepdim=True), dim=1) @ gaussian).sum())
    return {
        "entropy": entropy / count / np.log(size**2) if size > 1 else 1.0,
        "trust": float(trust.mean()) / 255,
        "border": border / count,
        "centre": centre / count,
    }


@contextmanager
def untouched_randomness() -> Iterator[None]:
    """Put the random states of Python, numpy and torch back afterwards."""
    states = RandomStates.take()
    try:
        yield
    finally:
        states.put_back()


def uncompiled(network: nn.Module) -> Any:
    """Run compiled modules as they are: compiling again for one size in eval mode would cost more than it saves."""
    compiled = any(module._compiled_call_impl is not None for module in network.modules())
    # from torch 2.6 on; asked for only where it matters, since it loads the compiler
    stance = getattr(torch.compiler, "set_stance", None) if compiled else None
    return nullcontext() if stance is None else stance("force_eager")
