"""What is compared: configs of ``configs/scenes``, some with one thing changed."""
from typing import Any, NamedTuple

from mmsscl.errors import InputError
from mmsscl.names import did_you_mean, near_names


class Method(NamedTuple):
    """A pretraining.

    Attributes:
        label: As tables name it.
        config: Its config's name in ``configs/scenes``; its seeds and budget come from the bench.
        options: What is changed in it.
        trains: Whether it is trained; else its first weights are taken.
    """

    label: str
    config: str
    options: dict[str, Any] = {}
    trains: bool = True


_PLAIN_CROPS = {
    "train_dataloader.dataset.pipeline.2.views.0.lambda_max": 0.0,
    "train_dataloader.dataset.pipeline.2.views.1.lambda_max": 0.0,
    "train_dataloader.dataset.pipeline.2.max_iou": None,
    "train_dataloader.dataset.pipeline.3.lambda_max": 0.0,
}

METHODS = {
    "random": Method("random weights", "byol_r18_scenes", trains=False),
    "byol": Method("BYOL", "byol_r18_scenes"),
    "moco": Method("MoCo v2", "moco_r18_scenes"),
    "scrl": Method("SCRL", "scrl_r18_scenes"),
    "sgcl": Method("SGCL", "sgcl_r18_scenes"),
    "scrl_sgcl": Method("SCRL + SGCL", "scrl_sgcl_r18_scenes"),
    "sgcl_no_saliency": Method("SGCL without saliency", "sgcl_r18_scenes", {"custom_hooks.1.strength": 0.0}),
    "scrl_sgcl_no_saliency": Method(
        "SCRL + SGCL without saliency", "scrl_sgcl_r18_scenes", {"custom_hooks.1.strength": 0.0}
    ),
    "sgcl_shuffled": Method(
        "SGCL, shuffled maps", "sgcl_r18_scenes", {"train_dataloader.dataset.pipeline.1.source": "shuffled"}
    ),
    "sgcl_gaussian": Method(
        "SGCL, Gaussian maps", "sgcl_r18_scenes", {"train_dataloader.dataset.pipeline.1.source": "gaussian"}
    ),
    "sgcl_uniform": Method(
        "SGCL, uniform maps", "sgcl_r18_scenes", {"train_dataloader.dataset.pipeline.1.source": "uniform"}
    ),
    "sgcl_crop_only": Method("SGCL, crops only", "sgcl_r18_scenes", {"model.weigh": False}),
    "sgcl_weights_only": Method("SGCL, weights only", "sgcl_r18_scenes", _PLAIN_CROPS),
}
"""By the name that the command line takes, in the order of tables."""


def method_of(name: str) -> Method:
    """The method of a name.

    Raises:
        InputError: There is none.
    """
    if name not in METHODS:
        raise InputError(f"method {name!r}: {did_you_mean(near_names(name, METHODS), 'Known: ' + ', '.join(METHODS) + '.')}")
    return METHODS[name]
