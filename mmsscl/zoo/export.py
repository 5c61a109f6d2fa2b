"""Turn a pretraining checkpoint into a backbone file that mmdet and mmpretrain load."""

from pathlib import Path

from mmsscl.zoo.convert import ConversionReport, convert_backbone


def export_backbone(checkpoint: str | Path, output: str | Path, branch: str = "online") -> ConversionReport:
    """Write the backbone of a pretraining checkpoint as a file for ``init_cfg=dict(type="Pretrained", ...)``.

    The checkpoint must be of this project's training; :func:`~mmsscl.zoo.convert.convert_backbone` takes others too, and
    writes for other libraries.

    Args:
        checkpoint: A checkpoint of ``tools/train.py``.
        output: Where to write; folders are made.
        branch: "online" (trained by gradients) or "target" (its moving average).

    Raises:
        InputError: If the checkpoint cannot be read, holds no config or no such branch, or its backbone and its config
            disagree.

    Example:
        >>> export_backbone("work_dirs/scrl_r50_coco/epoch_200.pth", "backbone.pth").matched  # doctest: +SKIP
        318
    """
    return convert_backbone(checkpoint, output, layout="mmsscl", branch=branch)
