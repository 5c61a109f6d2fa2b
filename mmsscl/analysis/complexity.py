"""Parameters of a config's model, and what a pass through its backbone costs."""
import argparse
from typing import NamedTuple

import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope

from mmsscl.engine.config import load_config
from mmsscl.engine.key_value_action import KeyValueAction
from mmsscl.engine.train import build_errors_explained, register_scope
from mmsscl.errors import InputError
from mmsscl.registry import MODELS
from mmsscl.zoo.key_difference import drop_pretrained_init


class Part(NamedTuple):
    """A child of a model, or what is in none ("itself"): ``name``, ``parameters``, and how many of them are ``trained``."""

    name: str
    parameters: int
    trained: int


class Complexity(NamedTuple):
    """Costs of a model.

    Attributes:
        model: Name of its class.
        parts: What of it has parameters.
        shape: (3, H, W) of the image.
        flops: Multiply-adds of one pass of that image through the backbone; one multiply and one add count as one.
        activations: Values that its convolutions and matrix products give out.
    """

    model: str
    parts: list[Part]
    shape: tuple[int, int, int]
    flops: int
    activations: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command line's arguments to a parser."""
    parser.add_argument("config", help="any config with a model.backbone: pretraining, transfer or classification")
    parser.add_argument("--shape", type=int, nargs="+", default=[224], metavar="PX", help="side, or height and width (224)")
    parser.add_argument("--cfg-options", nargs="+", action=KeyValueAction, metavar="KEY=VALUE", help="change the config")


def main(args: argparse.Namespace) -> str:
    """Measure the config of ``args``; returns a table.

    Raises:
        InputError: A config that cannot be read or built, or has no backbone; a shape below 1 or of three numbers.
    """
    if len(args.shape) > 2 or min(args.shape) < 1:
        raise InputError(f"--shape {' '.join(map(str, args.shape))}: give a side, or height and width, in pixels.")
    return table(complexity_of(load_config(args.config, args.cfg_options), (args.shape[0], args.shape[-1])))


def complexity_of(config: Config, size: tuple[int, int] = (224, 224)) -> Complexity:
    """Build a config's model with random weights and measure it.

    Args:
        config: With ``model.backbone``; changed in place: pretrained weights are not asked for.
        size: Height and width of the image in pixels.

    Raises:
        InputError: The model has no backbone, cannot be built, or its backbone does not take such an image.
    """
    if not (config.get("model") or {}).get("backbone"):
        raise InputError(f"config {config.filename}: has no model.backbone. Give a config of a model.")
    scope = str(config.get("default_scope") or "mmsscl")
    register_scope(scope)
    init_default_scope(scope)
    drop_pretrained_init(config._cfg_dict["model"])
    with build_errors_explained():
        # backbones freeze their first stages in train()
        model = revert_sync_batchnorm(MODELS.build(config.model)).train()
    parts = []
    groups = [(name, child.parameters()) for name, child in model.named_children()]
    for name, parameters in [*groups, ("itself", model.parameters(recurse=False))]:
        counts = [(each.numel(), each.numel() * each.requires_grad) for each in parameters]
        if counts:
            parts.append(Part(name, sum(all_ for all_, _ in counts), sum(trained for _, trained in counts)))
    model.eval()
    shape = (3, *size)
    try:
        with torch.no_grad():
            found = get_model_complexity_info(model.backbone, shape, show_table=False, show_arch=False)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"--shape {size[0]} {size[1]}: the backbone does not take such an image ({error}). Give the size that it is "
            "made for."
        ) from error
    return Complexity(type(model).__name__, parts, shape, int(found["flops"]), int(found["activations"]))


def table(found: Complexity) -> str:
    """Lines of text."""
    total = Part("all", sum(part.parameters for part in found.parts), sum(part.trained for part in found.parts))
    lines = [f"{found.model:16}{'parameters':>14}{'trained':>14}"]
    lines += [f"{part.name:16}{part.parameters:14,}{part.trained:14,}" for part in [*found.parts, total]]
    image = " x ".join(map(str, found.shape))
    costs = f"{found.flops / 1e9:.3f} G multiply-adds, {found.activations / 1e6:.2f} M activations"
    lines.append(f"backbone, one image of {image}: {costs}")
    return "\n".join(lines)
