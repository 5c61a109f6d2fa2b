"""Layer-wise adaptive rates for large batches."""
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mmsscl.errors import InputError
from mmsscl.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class LARS(Optimizer):
    """SGD with momentum and a trust ratio a layer (You et al., 2017, arXiv 1708.03888, algorithm 1).

    For a weight ``w`` of two dimensions or more with gradient ``g``::

        ratio  = trust_coefficient * |w| / (|g| + weight_decay * |w| + eps)     (1 where |w| or |g| is zero)
        buffer = momentum * buffer + ratio * (g + weight_decay * w)
        w      = w - lr * buffer

    Parameters of one dimension or fewer (biases, norm scales) get plain SGD with momentum at the plain rate, without
    weight decay. Norms are fused and stay on the device: a step waits for nothing. Parameters without a gradient, such
    as a target network's, are skipped and get no state.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate, at least 0. SCRL: 0.2 x batch / 256 (1000 epochs), 0.45 x batch / 256 (200 epochs).
        momentum: In [0, 1).
        weight_decay: At least 0.
        trust_coefficient: Above 0.
        eps: At least 0.

    Raises:
        InputError: An argument out of its range.

    Example:
        >>> LARS(model.parameters(), lr=0.4, weight_decay=1.5e-6)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 1e-3,
        eps: float = 1e-8,
    ) -> None:
        for name, value, holds, rule in (
            ("lr", lr, lr >= 0.0, "at least 0"),
            ("momentum", momentum, 0.0 <= momentum < 1.0, "in [0, 1)"),
            ("weight_decay", weight_decay, weight_decay >= 0.0, "at least 0"),
            ("trust_coefficient", trust_coefficient, trust_coefficient > 0.0, "above 0"),
            ("eps", eps, eps >= 0.0, "at least 0"),
        ):
            if not holds:
                raise InputError(f"LARS: {name}={value!r} must be {rule}.")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "trust_coefficient": trust_coefficient,
                "eps": eps,
            },
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient.

        Args:
            closure: Recomputes the loss, as torch's optimizers allow.

        Returns:
            The closure's result, or ``None``.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            layers = [p for p in group["params"] if p.grad is not None and p.ndim > 1]
            others = [p for p in group["params"] if p.grad is not None and p.ndim <= 1]
            if layers:
                self._descend(group, layers, _adapt(group, layers))
            if others:
                self._descend(group, others, [p.grad for p in others])
        return loss

    def _descend(self, group: dict[str, Any], params: list[Tensor], updates: list[Tensor]) -> None:
        buffers = []
        for param in params:
            state = self.state[param]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(param, memory_format=torch.preserve_format)
            buffers.append(state["momentum_buffer"])
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, updates)
        torch._foreach_add_(params, buffers, alpha=-group["lr"])


def _adapt(group: dict[str, Any], params: list[Tensor]) -> list[Tensor]:
    """Gradients plus weight decay, each scaled by its layer's trust ratio; the gradients themselves are not touched."""
    grads: list[Tensor] = [p.grad for p in params if p.grad is not None]
    decay = group["weight_decay"]
    param_norms = torch.stack(torch._foreach_norm(params))
    grad_norms = torch.stack(torch._foreach_norm(grads))
    ratios = torch.where(
        (param_norms > 0) & (grad_norms > 0),
        group["trust_coefficient"] * param_norms / (grad_norms + decay * param_norms + group["eps"]),
        1.0,
    )
    updates = list(torch._foreach_add(grads, params, alpha=decay))
    torch._foreach_mul_(updates, list(ratios.unbind()))
    return updates
