"""How libraries name the tensors of a ResNet. In between are mmpretrain's names, which mmdet, torchvision and timm share."""

import re

_TO_DETECTRON2 = {
    r"^conv1\.": "stem.conv1.",
    r"^bn1\.": "stem.conv1.norm.",
    r"\.bn([123])\.": r".conv\1.norm.",
    r"\.downsample\.0\.": ".shortcut.",
    r"\.downsample\.1\.": ".shortcut.norm.",
}
# a Sequential of torchvision's children: conv1, bn1, relu, maxpool, layer1..4
_POSITIONS = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


def to_detectron2(name: str) -> str:
    """The name in a detectron2 ResNet, below ``backbone.bottom_up``.

    Source: ``detectron2/modeling/backbone/resnet.py`` (BasicStem, BasicBlock, BottleneckBlock; a norm is a child of its
    convolution).

    Example:
        >>> to_detectron2("layer1.0.downsample.1.running_mean")
        'res2.0.shortcut.norm.running_mean'
    """
    for pattern, replacement in _TO_DETECTRON2.items():
        name = re.sub(pattern, replacement, name)
    return re.sub(r"^layer([1-4])\.", lambda found: f"res{int(found[1]) + 1}.", name)


def from_detectron2(name: str) -> str:
    """The reverse of :func:`to_detectron2`.

    Example:
        >>> from_detectron2("stem.conv1.norm.bias")
        'bn1.bias'
    """
    name = re.sub(r"\.shortcut\.norm\.", ".downsample.1.", name)
    name = re.sub(r"\.shortcut\.", ".downsample.0.", name)
    name = re.sub(r"\.conv([123])\.norm\.", r".bn\1.", name)
    name = re.sub(r"^res([2-5])\.", lambda found: f"layer{int(found[1]) - 1}.", name)
    return name.removeprefix("stem.")


def from_positions(name: str) -> str:
    """The name of a tensor in ``nn.Sequential(*list(torchvision_resnet.children())[:-1])``.

    Example:
        >>> from_positions("4.0.conv1.weight")
        'layer1.0.conv1.weight'
    """
    first, _, rest = name.partition(".")
    return f"{_POSITIONS.get(first, first)}.{rest}"
