"""The precision in which served operators compute."""
import torch
from torch import Tensor


def as_exact(*tensors: Tensor) -> list[Tensor]:
    """All tensors contiguous and in one dtype: float64 where any of them is, else float32.

    torchvision's kernels want one dtype for all arguments and lack half precision in places (RoIAlign's backward).
    """
    dtype = torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32
    return [tensor.to(dtype).contiguous() for tensor in tensors]
