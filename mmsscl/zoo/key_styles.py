"""Ways to name a backbone's tensors: how each is recognised, and how it becomes mmpretrain's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from mmsscl.zoo import resnet_keys, swin_keys

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class KeyStyle:
    """One way.

    Attributes:
        name: Of the style.
        family: "ResNet" or "SwinTransformer".
        signature: Names that a backbone of this style has.
        roots: First parts of the names that belong to the backbone; what has others is a head.
        to_mmpretrain: From tensors of this style to mmpretrain's.
    """

    name: str
    family: str
    signature: tuple[str, ...]
    roots: tuple[str, ...]
    to_mmpretrain: Callable[[State], dict[str, Tensor]]

    def fits(self, names: "set[str]") -> bool:
        """Whether a set of names holds such a backbone."""
        return names.issuperset(self.signature)

    def of_backbone(self, name: str) -> bool:
        """Whether a tensor of this name belongs to the backbone."""
        return name.partition(".")[0] in self.roots


def _renamed(rename: Callable[[str], str]) -> Callable[[State], dict[str, Tensor]]:
    return lambda state: {rename(name): value for name, value in state.items()}


RESNET = KeyStyle(
    "resnet", "ResNet", ("conv1.weight", "layer1.0.conv1.weight"),
    ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4"), dict,
)  # fmt: skip
RESNET_CHILDREN = KeyStyle(
    "resnet-children", "ResNet", ("0.weight", "4.0.conv1.weight"), ("0", "1", "4", "5", "6", "7"),
    _renamed(resnet_keys.from_positions),
)  # fmt: skip
RESNET_DETECTRON2 = KeyStyle(
    "resnet-detectron2", "ResNet", ("stem.conv1.weight", "res2.0.conv1.weight"), ("stem", "res2", "res3", "res4", "res5"),
    _renamed(resnet_keys.from_detectron2),
)  # fmt: skip
SWIN = KeyStyle(
    "swin", "SwinTransformer", ("patch_embed.projection.weight", "stages.0.blocks.0.attn.w_msa.qkv.weight"),
    ("patch_embed", "stages", "norm0", "norm1", "norm2", "norm3", "absolute_pos_embed"), dict,
)  # fmt: skip
SWIN_TIMM = KeyStyle(
    "swin-timm", "SwinTransformer", ("patch_embed.proj.weight", "layers.0.blocks.0.attn.qkv.weight"),
    ("patch_embed", "layers", "norm", "absolute_pos_embed"), swin_keys.from_timm,
)  # fmt: skip
SWIN_TORCHVISION = KeyStyle(
    "swin-torchvision", "SwinTransformer", ("features.0.0.weight", "features.1.0.attn.qkv.weight"), ("features", "norm"),
    swin_keys.from_torchvision,
)  # fmt: skip

STYLES = (RESNET, RESNET_CHILDREN, RESNET_DETECTRON2, SWIN, SWIN_TIMM, SWIN_TORCHVISION)


def style_of(names: set[str]) -> KeyStyle | None:
    """The style of a backbone whose names these are; None: none that is known."""
    return next((style for style in STYLES if style.fits(names)), None)
