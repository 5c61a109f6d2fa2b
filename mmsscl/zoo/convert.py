"""A backbone from any known file, as a file for any known library."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from mmsscl.errors import InputError
from mmsscl.names import did_you_mean, near_names
from mmsscl.version import __version__
from mmsscl.zoo.architecture import check_expected, label_of, name_of
from mmsscl.zoo.backbone_file import output_file, write_backbone_file
from mmsscl.zoo.file_hash import sha256_of
from mmsscl.zoo.key_difference import compare_keys
from mmsscl.zoo.normalisation import Normalisation, mismatch, settings_for, stated_normalisation
from mmsscl.zoo.read_backbone import BRANCH_PREFIXES, build_backbone
from mmsscl.zoo.read_foreign import ForeignBackbone, in_caffe_style, read_any
from mmsscl.zoo.safe_load import load_checkpoint
from mmsscl.zoo.targets import TARGETS, for_target

IMAGENET_OPTIONS = "--mean 123.675 116.28 103.53 --std 58.395 57.12 57.375 --channel-order RGB"


@dataclass(frozen=True)
class ConversionReport:
    """What was found and written.

    Attributes:
        path: The file written.
        matched: Tensors of the file that filled the backbone when it was built and loaded again, strictly.
        keys: Parameters and buffers of the backbone (318 for ResNet-50).
        sha256: Of the file written, in hexadecimal.
        layout: Whose file was read, by the names in it: "scrl", "moco", ...
        about: The same in words.
        architecture: "ResNet-50".
        branch: "online" or "target".
        target: For which library the file is.
        source_sha256: Of the file read.
        mean: In 0..255, in the order of ``channel_order``.
        std: Likewise.
        channel_order: "RGB" or "BGR".
        normalisation_origin: Who says how images are normalised.
        mismatch: In what they differ from the library's own configs; None: in nothing.
        settings: What to set in the library.
        left_out: What else was in the file, with the number of tensors.
        remarks: What else its user must know.
    """

    path: str
    matched: int
    keys: int
    sha256: str
    layout: str
    about: str
    architecture: str
    branch: str
    target: str
    source_sha256: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: str
    normalisation_origin: str
    mismatch: str | None
    settings: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def convert_backbone(
    source: str | Path,
    output: str | Path,
    to: str = "mmdet",
    layout: str | None = None,
    branch: str = "online",
    arch: str | None = None,
    mean: tuple[float, ...] | list[float] | None = None,
    std: tuple[float, ...] | list[float] | None = None,
    channel_order: str | None = None,
    pixel_range: int | None = None,
    safetensors: bool = False,
) -> ConversionReport:
    """Write the backbone of a checkpoint, of this project or another, as a file for a library.

    The file's layout is recognised by its keys. The backbone is built in mmpretrain and filled strictly before anything is
    written, and the file appears whole or not at all. Beside the tensors it holds ``meta``: ``arch``, ``backbone`` (its
    config), ``scope``, ``mean`` and ``std`` in 0..255, ``channel_order``, ``source``, ``source_sha256``, ``source_layout``,
    ``branch``, ``layout`` (the library), ``mmsscl_version``; in safetensors as strings.

    Args:
        source: A checkpoint or a ``.safetensors`` file.
        output: Where to write; folders are made. ``.safetensors`` gives that format.
        to: "mmdet", "mmpretrain", "torchvision", "timm" or "detectron2".
        layout: Name in ``layouts.LAYOUTS`` that the source must be of; None: whichever it is.
        branch: "online" (trained by gradients) or "target" (its moving average).
        arch: Network that the source must hold, such as "resnet50"; None: whichever it is.
        mean: Of the pixels the network was trained on, where the file cannot tell; in the order of its channels.
        std: Likewise.
        channel_order: "RGB" or "BGR", where the file cannot tell.
        pixel_range: 1 or 255, that ``mean`` and ``std`` are of; None: told by their size.
        safetensors: Write that format; ``output`` must end so, or have no ending.

    Raises:
        InputError: The source cannot be read, is of no known layout, of another one, of another network, or lacks keys; its
            normalisation is unknown; the library has no such network.

    Example:
        >>> convert_backbone("moco_v2_800ep_pretrain.pth.tar", "backbone.pth").layout  # doctest: +SKIP
        'moco'
    """
    origin = Path(source).expanduser()
    if to not in TARGETS:
        hint = did_you_mean(near_names(to, TARGETS), f"Use one of: {', '.join(TARGETS)}.")
        raise InputError(f"--to {to}: no such library. {hint}")
    if branch not in BRANCH_PREFIXES:
        raise InputError(f"--branch {branch}: no such branch. Use one of: {', '.join(BRANCH_PREFIXES)}.")
    file = output_file(output, origin, to, safetensors)
    found = read_any(load_checkpoint(origin), origin, layout, branch)
    told = found.stored.told
    known, remarks = stated_normalisation(told.normalisation, mean, std, channel_order, pixel_range)
    if known is None:
        fault = told.fault or f"checkpoint {origin}: nothing tells how images were normalised for it ({found.about})."
        raise InputError(
            f"{fault} Say it: --mean, --std and --channel-order; most networks trained on ImageNet: {IMAGENET_OPTIONS}."
        )
    found = in_caffe_style(found, known)
    stored = found.stored
    check_expected(name_of(stored.config), arch, origin)
    whole, uncounted = _verified(found, origin)
    if stored.exported and found.layout == to and origin.suffix == file.suffix and known == told.normalisation:
        raise InputError(f"checkpoint {origin}: is a backbone that has been exported already: use it as it is.")
    state, config, more = for_target(whole, stored.config, to)
    if uncounted:
        more.append(f"{uncounted} num_batches_tracked are not in the file: written as 0")
    source_sha256 = sha256_of(origin)
    meta = {
        "arch": label_of(stored.config),
        "backbone": config,
        "scope": stored.scope,
        "mean": list(known.mean),
        "std": list(known.std),
        "channel_order": known.channel_order,
        "source": origin.name,
        "source_sha256": source_sha256,
        "source_layout": found.layout,
        "branch": stored.branch,
        "layout": to,
        "mmsscl_version": __version__,
    }
    write_backbone_file(file, state, meta, to)
    return ConversionReport(
        path=str(file), matched=len(whole) - uncounted, keys=len(whole), sha256=sha256_of(file), layout=found.layout,
        about=found.about, architecture=label_of(stored.config), branch=stored.branch, target=to,
        source_sha256=source_sha256,
        mean=known.mean, std=known.std, channel_order=known.channel_order, normalisation_origin=known.origin,
        mismatch=mismatch(to, known), settings=_settings(to, known, stored.config), left_out=found.left_out,
        remarks=[*found.remarks, *(told.remarks if known == told.normalisation else ()), *remarks, *more],
    )  # fmt: skip


def _settings(target: str, known: Normalisation, config: dict[str, Any]) -> list[str]:
    lines = settings_for(target, known, config)
    if config.get("style") == "caffe" and target in ("mmdet", "mmpretrain"):
        lines.append("model.backbone: style='caffe'")
    return lines


class _Unfilled(TorchFunctionMode):
    """Modules made here have shapes and no numbers: to draw some, which the file's replace, takes longer than all else."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # all else is computed: mmpretrain's ResNets ask for numbers that torch.device("meta") would take from them
        return func(*args, **(kwargs | {"device": "meta"} if func is torch.empty else kwargs))


def _verified(found: ForeignBackbone, path: Path) -> tuple[dict[str, torch.Tensor], int]:
    """The tensors that fill the backbone, and how many of them the file has not: files of torch before 0.4 and of
    detectron2 do not count batches."""
    stored = found.stored
    try:
        with _Unfilled():
            backbone = build_backbone(stored)
    # a config from a file may ask for anything, of classes that check it as they like
    except (LookupError, TypeError, ValueError, AssertionError, AttributeError, RuntimeError, ArithmeticError) as error:
        raise InputError(
            f"checkpoint {path}: its backbone {stored.config.get('type')} cannot be built ({error}). Export from the "
            "checkpoint as training wrote it; for a file whose config is wrong, --from says how its tensors are named."
        ) from error
    own = backbone.state_dict()
    counts = {name: torch.zeros_like(value) for name, value in own.items() if name.endswith("num_batches_tracked")}
    state = {**counts, **stored.state}
    difference = compare_keys(own, state)
    if difference:
        label = label_of(stored.config)
        said = f"config describes ({label})" if found.by_config else f"keys say, a {label} ({found.about})"
        if found.by_config:
            remedy = "Export from the checkpoint as training wrote it."
        elif "norm3.weight" in difference.missing:
            remedy = "No library has a Swin Transformer without its last norm, as kakaobrain/scrl trains: it is not read."
        else:
            remedy = "Give a whole file of a plain network; variants (deep stem, wide or grouped blocks) are not known."
        raise InputError(f"checkpoint {path}: its backbone is not the one its {said}: {difference.describe()}. {remedy}")
    backbone.load_state_dict(state, strict=True, assign=True)
    return {name: state[name] for name in own}, len(counts.keys() - stored.state.keys())
