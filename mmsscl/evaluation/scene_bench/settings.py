"""The budget and the data of a bench: the same for all its cells."""
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from mmsscl.errors import InputError

STAGES = ("pretrain", "knn", "linear", "regions", "saliency", "detection", "detection_frozen")


@dataclass(frozen=True)
class BenchSettings:
    """What all cells share.

    Attributes:
        data: Folder with ``voc_scenes``, ``coco_mini``, ``caltech101`` and ``ecssd``.
        configs: Folder of the configs.
        epochs: Of pretraining.
        photos: So many of the pretraining photos, evenly spread; None: all.
        detection_steps: Of each fine-tuning; None: the config's.
        region_photos: For region retrieval.
        saliency_photos: For saliency maps; None: all.
        size: Side of the squares of kNN, linear probe and regions, in pixels.
        amp: "bf16", "fp16", or None for float32, in all trainings.
        keep_decoded: GB of memory for decoded photos, in pretraining; None: 4, or a quarter of the memory if less.
        workers: That load data in pretraining; None: the config's, on a GPU one less than there are cores, 12 at most.
        device: Of the measures; None: a GPU where there is one. Trainings take a GPU where there is one.
        options: More settings of the pretraining configs, such as fewer workers.
        detection_options: Likewise of the detection configs.
    """

    data: str
    configs: str
    epochs: int = 12
    photos: int | None = None
    detection_steps: int | None = None
    region_photos: int = 300
    saliency_photos: int | None = None
    size: int = 128
    amp: str | None = "bf16"
    keep_decoded: float | None = None
    workers: int | None = None
    device: str | None = None
    options: tuple[tuple[str, object], ...] = ()
    detection_options: tuple[tuple[str, object], ...] = ()

    def __post_init__(self) -> None:
        for key in ("epochs", "photos", "detection_steps", "region_photos", "saliency_photos", "size", "workers"):
            value = getattr(self, key)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise InputError(f"--{key.replace('_', '-')} {value}: give a whole number from 1.")
        if not Path(self.data).is_dir():
            raise InputError(f"--data {self.data}: no such folder. It holds voc_scenes, coco_mini, caltech101 and ecssd.")

    def hash(self) -> str:
        """Of what decides results: not of where things lie and run, nor of how photos are read."""
        elsewhere = ("data", "configs", "device", "keep_decoded", "workers")
        kept = {key: value for key, value in asdict(self).items() if key not in elsewhere}
        return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def path(self, *parts: str) -> str:
        """A path in the data folder.

        Raises:
            InputError: There is nothing.
        """
        path = os.path.join(self.data, *parts)
        if not os.path.exists(path):
            raise InputError(f"{path}: absent. --data is the folder with voc_scenes, coco_mini, caltech101 and ecssd.")
        return path
