"""Weights that compare images with each other."""
import torch
import torch.distributed as distributed
from torch import Tensor


def batch_crop_weights(
    scores: Tensor, valid: Tensor, guidance: Tensor, clip: tuple[float, float] = (0.25, 4.0)
) -> Tensor:
    """Weights of mean one over the valid crops of the whole batch, of all processes.

    As ``crop_weights``, but a score is divided by the batch's mean score in place of its image's: whole images then
    count more or less, and textureless ones quietly little. Two sums over the processes; no device is waited for.

    Args:
        scores: (B, M), at least 0.
        valid: (B, M) bool.
        guidance: (B,) in [0, 1]: how far the weights of an image's crops may leave 1, before the common mean is
            brought back to one.
        clip: Least and greatest weight before that.

    Returns:
        (B, M) float32 without gradient; exactly 1 everywhere where no image has guidance, and for crops that are not
        valid.
    """
    with torch.no_grad(), torch.autocast(device_type=scores.device.type, enabled=False):
        scores, share = scores.detach().float(), guidance.detach().float().unsqueeze(1)
        mean = _mean(scores, valid)
        ratio = torch.where(mean > 0, scores / mean.clamp(min=torch.finfo(torch.float32).tiny), torch.ones_like(scores))
        weights = ((1 - share) + share * ratio).clamp(*clip)
        mean = _mean(weights, valid)
        return torch.where(valid & (mean > 0), weights / mean.clamp(min=clip[0]), 1.0)


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean over the valid entries of all processes; 0 without any."""
    sums = torch.stack([values.masked_fill(~valid, 0.0).sum(), valid.sum().float()])
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        distributed.all_reduce(sums)
    return sums[0] / sums[1].clamp(min=1.0)
