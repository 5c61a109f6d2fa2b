"""Where the files of other projects keep a backbone, and what is known of how their images were normalised."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from mmsscl.errors import InputError
from mmsscl.names import did_you_mean, near_names
from mmsscl.zoo.key_styles import KeyStyle, style_of
from mmsscl.zoo.normalisation import IMAGENET_RGB, UNIT_RGB, Normalisation

_WRAPPERS = re.compile(r"^(?:(?:state_dict|model|model_state_dict)\.)+")


@dataclass(frozen=True)
class Layout:
    """The files of one project.

    Attributes:
        name: As ``--from`` takes it.
        about: What they are files of.
        online: Prefixes of the backbone trained by gradients, likeliest first.
        target: Prefixes of its moving average.
        normalisation: Of the images that the project's code trains on; None: nobody can know it.
        marker: Beginning of a name that such a file also has.
        styles: Names of the key styles it is limited to; empty: any.
    """

    name: str
    about: str
    online: tuple[str, ...]
    target: tuple[str, ...] = ()
    normalisation: Normalisation | None = IMAGENET_RGB
    marker: str = ""
    styles: tuple[str, ...] = ()


# the first that fits is taken: the more telling ones come before those that say little
LAYOUTS = (
    Layout("mmsscl", "a training checkpoint of mmsscl", ("backbone.",), ("target.backbone.",), marker="target.backbone."),
    Layout("moco", "MoCo v1 and v2 (facebookresearch/moco)", ("encoder_q.",), ("encoder_k.",)),
    Layout("moco-v3", "MoCo v3 (facebookresearch/moco-v3)", ("base_encoder.",), ("momentum_encoder.",)),
    Layout("pytorch-byol", "BYOL of sthalles/PyTorch-BYOL", ("online_network_state_dict.encoder.",),
           ("target_network_state_dict.encoder.",), UNIT_RGB, marker="online_network_state_dict.projetion."),
    Layout("scrl", "SCRL and BYOL of kakaobrain/scrl", ("online_network_state_dict.encoder.",),
           ("target_network_state_dict.encoder.",)),
    Layout("byol-pytorch", "BYOL of lucidrains/byol-pytorch", ("online_encoder.net.", "learner.online_encoder.net."),
           ("target_encoder.net.", "learner.target_encoder.net.")),
    Layout("byol", "other PyTorch BYOLs",
           ("online_network.encoder.", "online_network.", "online_encoder.", "online_backbone."),
           ("target_network.encoder.", "target_network.", "target_encoder.", "target_backbone."), None),
    Layout("detectron2", "a backbone or detector of detectron2", ("", "backbone.bottom_up."), normalisation=None,
           styles=("resnet-detectron2",)),
    Layout("mmpretrain", "a run of mmselfsup, mmpretrain, mmdet or solo-learn", ("backbone.",),
           ("target_net.0.", "encoder_k.0.", "momentum_backbone.")),
    Layout("simsiam", "SimSiam (facebookresearch/simsiam)", ("encoder.",)),
    Layout("torchvision", "a network of torchvision, or any file with its names (a ResNet of timm or mmdet)", ("",),
           styles=("resnet", "swin-torchvision")),
    Layout("timm", "a Swin Transformer of timm or Microsoft", ("",), styles=("swin-timm",)),
    Layout("mmdet", "a backbone by itself with mmpretrain's or mmdet's names", ("",), styles=("swin",)),
)  # fmt: skip
# the keys of a timm or mmdet ResNet are torchvision's
_SAME = {"timm": "torchvision", "mmdet": "torchvision", "mmselfsup": "mmpretrain"}


class Found(NamedTuple):
    """A backbone in a file.

    Attributes:
        layout: Whose file it is.
        style: How its tensors are named.
        prefix: What stands before their names.
        state: mmpretrain's name to tensor.
        left_out: Groups of tensors that are not the backbone's, with their number: "fc (2)".
    """

    layout: Layout
    style: KeyStyle
    prefix: str
    state: dict[str, Tensor]
    left_out: list[str]


def flat_names(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """All tensors of a checkpoint by one name each: those of its dictionaries, and those beside them.

    ``state_dict.``, ``model.`` and, anywhere, ``module.`` and ``_orig_mod.`` (wrappers for several GPUs and for compiling)
    are taken off.

    Args:
        content: What ``load_checkpoint`` returned.
    """
    tensors: dict[str, Tensor] = {}
    for key, value in content.items():
        inner = value.items() if isinstance(value, Mapping) else [(None, value)]
        for name, tensor in inner:
            if isinstance(tensor, Tensor):
                whole = str(key) if name is None else f"{key}.{name}"
                whole = re.sub(r"(^|(?<=\.))(module|_orig_mod)\.", "", whole)
                tensors.setdefault(_WRAPPERS.sub("", whole), tensor)
    return tensors


def find_backbone(
    content: Mapping[str, Any], path: str | Path, layout: str | None = None, branch: str = "online"
) -> Found:
    """Recognise a file by the names of its tensors.

    Args:
        content: What ``load_checkpoint`` returned.
        path: Its file, for messages.
        layout: A name in ``LAYOUTS`` that it must be; None: whichever it is.
        branch: "online" (trained by gradients) or "target" (its moving average).

    Raises:
        InputError: No such layout; the file is of none that is known, or not of this one; it has no such branch.
    """
    names = flat_names(content)
    wanted = LAYOUTS if layout is None else _named(layout)
    for candidate in wanted:
        found = _try(candidate, candidate.online, names)
        if found is None:
            continue
        if branch == "online":
            return found
        other = _try(candidate, candidate.target, names, marker=False)
        if other is None:
            raise InputError(
                f"checkpoint {path}: holds no {branch} network ({candidate.about}; looked for names that begin with "
                f"{' or '.join(map(repr, candidate.target)) or 'nothing: it never has one'}). Use --branch online."
            )
        return other
    if layout is not None:
        other = next((found for found in (_try(one, one.online, names) for one in LAYOUTS) if found), None)
        where = " or ".join(repr(prefix) for one in wanted for prefix in one.online)
        remedy = f"It looks like {other.layout.name} ({other.layout.about}): leave --from out." if other else _known()
        raise InputError(
            f"checkpoint {path}: has no backbone in the layout {layout} (names that begin with {where}). {_holds(names)} "
            f"{remedy}"
        )
    raise InputError(f"checkpoint {path}: no backbone of a known layout is in it. {_holds(names)} {_known()}")


def _try(layout: Layout, prefixes: tuple[str, ...], names: Mapping[str, Tensor], marker: bool = True) -> Found | None:
    if marker and layout.marker and not any(name.startswith(layout.marker) for name in names):
        return None
    for prefix in prefixes:
        under = {name.removeprefix(prefix): tensor for name, tensor in names.items() if name.startswith(prefix)}
        style = style_of(set(under))
        if style is None or (layout.styles and style.name not in layout.styles):
            continue
        state = {name: tensor for name, tensor in under.items() if style.of_backbone(name)}
        taken = {prefix + name for name in state}
        groups = Counter(_group(name, prefix) for name in names if name not in taken)
        left_out = [f"{group} ({count})" for group, count in sorted(groups.items())]
        return Found(layout, style, prefix, style.to_mmpretrain(state), left_out)
    return None


def _group(name: str, prefix: str) -> str:
    if prefix and name.startswith(prefix):
        return prefix + name.removeprefix(prefix).partition(".")[0]
    first, _, rest = name.partition(".")
    return f"{first}.{rest.partition('.')[0]}" if prefix.startswith(f"{first}.") else first


def _named(name: str) -> tuple[Layout, ...]:
    found = tuple(one for one in LAYOUTS if one.name in (name, _SAME.get(name)))
    if not found:
        known = [one.name for one in LAYOUTS]
        hint = did_you_mean(near_names(name, known), f"Use one of: {', '.join(known)}.")
        raise InputError(f"--from {name}: no such layout. {hint}")
    return found


def _holds(names: Mapping[str, Tensor]) -> str:
    if not names:
        return "It holds no tensors."
    groups = Counter(".".join(name.split(".")[:2]) for name in names)
    listed = ", ".join(f"{group} ({count})" for group, count in list(groups.items())[:8])
    return f"Its {len(names)} tensors: {listed}{', ...' if len(groups) > 8 else ''}."


def _known() -> str:
    listed = "; ".join(f"{one.name}: {one.about}" for one in LAYOUTS)
    return f"Known are ResNets and Swin Transformers in these layouts: {listed}."
