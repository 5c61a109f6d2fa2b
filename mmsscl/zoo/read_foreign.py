"""Read the backbone of any known file: its tensors, its network, and what is known of its images."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmsscl.errors import InputError
from mmsscl.zoo.architecture import config_of
from mmsscl.zoo.layouts import Layout, find_backbone, flat_names
from mmsscl.zoo.normalisation import CAFFE_BGR, IMAGENET_RGB, Normalisation, in_255
from mmsscl.zoo.read_backbone import StoredBackbone, read_content, stored_config

_BY_CONFIG = ("mmsscl", "mmpretrain")


@dataclass(frozen=True)
class ForeignBackbone:
    """A backbone and where it comes from.

    Attributes:
        stored: Config, tensors, branch.
        layout: Whose file it is.
        about: The same in words.
        normalisation: Of its images; None: unknown.
        by_config: Whether its config is the stored one of its training, and not read off its tensors.
        left_out: What else is in the file.
        remarks: What its user must know.
    """

    stored: StoredBackbone
    layout: str
    about: str
    normalisation: Normalisation | None
    by_config: bool
    left_out: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def read_any(content: dict[str, Any], path: Path, layout: str | None, branch: str) -> ForeignBackbone:
    """Read a backbone.

    Args:
        content: What ``load_checkpoint`` returned.
        path: Its file.
        layout: Name that it must be of; None: whichever it is.
        branch: "online" or "target".

    Raises:
        InputError: See :func:`~mmsscl.zoo.layouts.find_backbone` and :func:`~mmsscl.zoo.read_backbone.read_backbone`.
    """
    meta = content.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    own = layout in (None, "mmsscl")
    if own and "backbone" in meta and "mean" in meta:
        stored = read_content(content, path, None if branch == "online" else branch)
        return _own(stored, str(meta.get("layout", "mmdet")), "a file of mmsscl export", "the file", content)
    config, remarks = _config(content, path)
    scope = config.get("default_scope")
    model = config.get("model")
    backbone = model.get("backbone") if isinstance(model, dict) else None
    if layout in (None, scope) and scope in _BY_CONFIG and backbone and (scope == "mmsscl" or branch == "online"):
        stored = read_content(content, path, branch)
        return _own(stored, str(scope), f"a training checkpoint of {scope}", "the config in the file", content)
    if layout == "mmsscl":
        # said by whoever gave it, and no export of ours: what is missing is said there
        stored = read_content(content, path, branch)
        return _own(stored, "mmsscl", "a training checkpoint of mmsscl", "the config in the file", content)
    found = find_backbone(content, path, layout, branch)
    normalisation, more = _normalisation(found.layout, config, content, path)
    style = backbone.get("style") if isinstance(backbone, dict) else None
    network = config_of(found.state, found.style.family, path)
    if style == "caffe":
        network["style"] = "caffe"
    stored = StoredBackbone(network, None, found.state, {}, branch, False)
    about = found.layout.about
    return ForeignBackbone(stored, found.layout.name, about, normalisation, False, found.left_out, [*remarks, *more])


def in_caffe_style(found: ForeignBackbone, known: Normalisation) -> ForeignBackbone:
    """A ResNet whose images are Caffe's has Caffe's bottlenecks too, unless its training says otherwise."""
    config = found.stored.config
    if found.by_config or "style" in config or config.get("depth", 0) < 50 or not known.same(CAFFE_BGR):
        return found
    remark = "taken as Caffe style, as its images are: a bottleneck's stride is in its first convolution"
    stored = found.stored._replace(config={**config, "style": "caffe"})
    return replace(found, stored=stored, remarks=[*found.remarks, remark])


def _own(stored: StoredBackbone, layout: str, about: str, origin: str, content: dict[str, Any]) -> ForeignBackbone:
    numbers = stored.normalisation
    normalisation = Normalisation(tuple(numbers["mean"]), tuple(numbers["std"]), numbers["channel_order"], origin)
    groups: dict[str, int] = {}
    for name in flat_names(content) if not stored.exported else ():
        first = "target.backbone" if name.startswith("target.backbone.") else name.partition(".")[0]
        groups[first] = groups.get(first, 0) + 1
    taken = "backbone" if stored.branch == "online" else "target.backbone"
    left_out = [f"{group} ({count})" for group, count in sorted(groups.items()) if group != taken]
    return ForeignBackbone(stored, layout, about, normalisation, True, left_out)


def _config(content: dict[str, Any], path: Path) -> tuple[dict[str, Any], list[str]]:
    """The training config in a file, empty where there is none, and a remark where it cannot be read."""
    meta = content.get("meta")
    if not isinstance(meta, dict) or not isinstance(meta.get("cfg"), str):
        return {}, []
    try:
        return stored_config(content, path), []
    except InputError as error:
        return {}, [f"the training config in it is not used: {error}"]


def _normalisation(
    layout: Layout, config: dict[str, Any], content: dict[str, Any], path: Path
) -> tuple[Normalisation | None, list[str]]:
    """By what the file says, else by its name, else by what the layout's code does."""
    meta = content.get("meta")
    if isinstance(meta, dict) and {"mean", "std", "channel_order"} <= meta.keys():
        return in_255(meta["mean"], meta["std"], str(meta["channel_order"]).upper(), "the file")
    model = config.get("model") or {}
    for place in (model.get("data_preprocessor"), config.get("data_preprocessor"), config.get("img_norm_cfg")):
        if isinstance(place, dict) and place.get("mean") is not None and place.get("std") is not None:
            order = "RGB" if any(place.get(key) for key in ("to_rgb", "bgr_to_rgb")) else "BGR"
            return Normalisation(tuple(place["mean"]), tuple(place["std"]), order, "the config in the file"), []
    if "caffe" in path.name.lower():
        return replace(CAFFE_BGR, origin="the file's name, which says caffe"), []
    if layout.name == "detectron2" and content.get("__author__") == "torchvision":
        return replace(IMAGENET_RGB, origin="its author, torchvision"), []
    if layout.normalisation is None:
        return None, []
    known = replace(layout.normalisation, origin=f"what {layout.about} does, not the file")
    return known, ["if its training normalised images otherwise, say so by --mean, --std and --channel-order"]
