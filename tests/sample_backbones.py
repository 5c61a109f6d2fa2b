"""Real networks of torchvision and timm, and files of other projects that hold them."""

import functools
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import nn

IMAGE_SEED = 3


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """In eval mode, with norms whose every number is random: fresh ones would hide a mix-up."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.0, generator=generator)
            nn.init.uniform_(module.bias, -0.2, 0.2, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2, generator=generator)
            nn.init.uniform_(module.running_var, 0.5, 1.5, generator=generator)
            module.num_batches_tracked.fill_(7)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.uniform_(module.bias, -0.2, 0.2, generator=generator)
        table = getattr(module, "relative_position_bias_table", None)
        if table is not None:
            nn.init.uniform_(table, -0.5, 0.5, generator=generator)
    return network.eval()


@functools.cache
def resnet(depth: int = 18, seed: int = 0) -> nn.Module:
    """A torchvision ResNet, one for all tests: not to be changed."""
    torch.manual_seed(seed)
    return randomised(getattr(torchvision.models, f"resnet{depth}")(weights=None), seed)


def image(size: int = 64) -> torch.Tensor:
    """A batch of two, already normalised."""
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(IMAGE_SEED))


def stages(network: nn.Module, pixels: torch.Tensor) -> list[torch.Tensor]:
    """The four feature maps of a torchvision ResNet."""
    maps = network.maxpool(network.relu(network.bn1(network.conv1(pixels))))
    found = []
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        maps = layer(maps)
        found.append(maps)
    return found


@functools.cache
@torch.no_grad()
def resnet_stages(depth: int) -> list[torch.Tensor]:
    """What ``resnet(depth)`` makes of ``image()``."""
    return stages(resnet(depth), image())


def shapes(build: Callable[[], nn.Module]) -> dict[str, torch.Tensor]:
    """A network's tensors without numbers of their own: made at once, and small on disk."""
    with torch.device("meta"):
        state = build().state_dict()
    return {name: torch.zeros(()).expand(value.shape) for name, value in state.items()}


def under(prefix: str, network: nn.Module) -> dict[str, torch.Tensor]:
    """Its tensors, with something before their names."""
    return {prefix + name: value for name, value in network.state_dict().items()}


def children(network: nn.Module) -> nn.Module:
    """As kakaobrain/scrl and sthalles/PyTorch-BYOL hold a ResNet."""
    return nn.Sequential(*list(network.children())[:-1])


def save(content: object, file: Path) -> Path:
    """By ``torch.save``."""
    torch.save(content, file)
    return file
