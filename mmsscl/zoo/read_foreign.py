"""Read the backbone of any known file: its tensors, its network, and what is known of its images."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmsscl.errors import InputError
from mmsscl.zoo.architecture import USUAL_RESNET, config_of
from mmsscl.zoo.layouts import Layout, find_backbone, flat_names
from mmsscl.zoo.normalisation import CAFFE_BGR, IMAGENET_RGB, Normalisation
from mmsscl.zoo.read_backbone import StoredBackbone, config_text, is_export, meta_of, read_content, stored_config
from mmsscl.zoo.told_normalisation import Told, told_normalisation

_BY_CONFIG = ("mmsscl", "mmpretrain")


@dataclass(frozen=True)
class ForeignBackbone:
    """A backbone and where it comes from.

    Attributes:
        stored: Config, tensors, branch.
        layout: Whose file it is.
        about: The same in words.
        by_config: Whether its config is the stored one of its training, and not read off its tensors.
        left_out: What else is in the file.
        remarks: What its user must know.
    """

    stored: StoredBackbone
    layout: str
    about: str
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
    meta = meta_of(content)
    if is_export(meta):
        library = str(meta.get("layout", "mmdet"))
        if layout not in (None, "mmsscl", library):
            raise InputError(
                f"checkpoint {path}: is a file of mmsscl export for {library}, not of the layout {layout}. Leave --from out."
            )
        stored = read_content(content, path, None if branch == "online" else branch)
        return _own(stored, library, "a file of mmsscl export", content)
    config, remarks = _config(content, path)
    scope = config.get("default_scope")
    model = config.get("model")
    backbone = model.get("backbone") if isinstance(model, dict) else None
    by_config = layout in (None, scope) and scope in _BY_CONFIG and backbone and (scope == "mmsscl" or branch == "online")
    # of a file that its user says is ours, what is missing for it is said
    if by_config or layout == "mmsscl":
        owner = "mmsscl" if layout == "mmsscl" else str(scope)
        return _own(read_content(content, path, branch), owner, f"a training checkpoint of {owner}", content)
    found = find_backbone(content, path, layout, branch)
    network = config_of(found.state, found.style.family, path)
    if found.style.family == "ResNet" and isinstance(backbone, dict):
        network |= {key: backbone[key] for key in ("style", *USUAL_RESNET) if backbone.get(key) is not None}
    stored = StoredBackbone(network, None, found.state, _told(found.layout, config, content, path), branch, False)
    return ForeignBackbone(stored, found.layout.name, found.layout.about, False, found.left_out, remarks)


def in_caffe_style(found: ForeignBackbone, known: Normalisation) -> ForeignBackbone:
    """A ResNet whose images are Caffe's has Caffe's bottlenecks too, unless its training says otherwise."""
    config = found.stored.config
    if found.by_config or "style" in config or config.get("depth", 0) < 50 or not known.same(CAFFE_BGR):
        return found
    remark = "taken as Caffe style, as its images are: a bottleneck's stride is in its first convolution"
    stored = found.stored._replace(config={**config, "style": "caffe"})
    return replace(found, stored=stored, remarks=[*found.remarks, remark])


def _own(stored: StoredBackbone, layout: str, about: str, content: dict[str, Any]) -> ForeignBackbone:
    groups: dict[str, int] = {}
    for name in flat_names(content) if not stored.exported else ():
        first = "target.backbone" if name.startswith("target.backbone.") else name.partition(".")[0]
        groups[first] = groups.get(first, 0) + 1
    taken = "backbone" if stored.branch == "online" else "target.backbone"
    left_out = [f"{group} ({count})" for group, count in sorted(groups.items()) if group != taken]
    return ForeignBackbone(stored, layout, about, True, left_out)


def _config(content: dict[str, Any], path: Path) -> tuple[dict[str, Any], list[str]]:
    """The training config in a file, empty where there is none, and a remark where it cannot be read."""
    if config_text(meta_of(content)) is None:
        return {}, []
    try:
        return stored_config(content, path), []
    except InputError as error:
        return {}, [f"the training config in it is not used: {error}"]


def _told(layout: Layout, config: dict[str, Any], content: dict[str, Any], path: Path) -> Told:
    """By what the file says, else by its name, else by what the layout's code does."""
    told = told_normalisation(meta_of(content), config, path)
    if told.normalisation is not None or told.fault:
        return told
    if "caffe" in path.name.lower():
        return Told(replace(CAFFE_BGR, origin="the file's name, which says caffe"))
    if layout.name == "detectron2" and content.get("__author__") == "torchvision":
        return Told(replace(IMAGENET_RGB, origin="its author, torchvision"))
    if layout.normalisation is None:
        return Told(None)
    known = replace(layout.normalisation, origin=f"what {layout.about} does, not the file")
    return Told(known, ("if its training normalised images otherwise, say so by --mean, --std and --channel-order",))
