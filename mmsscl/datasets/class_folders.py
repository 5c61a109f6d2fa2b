"""Photos in one folder per class, for mmpretrain's classifiers."""
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset

from mmsscl.datasets.label_split import class_files, class_names, read_label_list, with_labels
from mmsscl.registry import DATASETS


@DATASETS.register_module()
class ClassFolders(BaseDataset):
    """Photos of a folder that holds a folder for each class; all of them, or those that a list names.

    mmpretrain's ``CustomDataset`` takes class folders without photos, labels outside the classes and absent photos, and
    training fails later or learns what is wrong. Here these are errors, before the first step.

    Args:
        data_root: The folder; its subfolders, sorted by name, are the classes.
        label_list: A list of a part of the photos, see :func:`~mmsscl.datasets.label_split.read_label_list`; a relative
            path is relative to the working directory.
        pipeline: Transforms; they get ``img_path`` and ``gt_label``.
        test_mode: As of mmengine's ``BaseDataset``.

    Raises:
        InputError: As :func:`~mmsscl.datasets.label_split.class_files` and ``read_label_list``.

    Example:
        >>> train_dataloader = dict(dataset=dict(type="mmsscl.ClassFolders", data_root="photos/train", pipeline=[]))
    """

    def __init__(
        self, data_root: str, label_list: str | None = None, pipeline: Any = (), test_mode: bool = False
    ) -> None:
        self.label_list = label_list
        super().__init__(
            data_root=data_root, pipeline=list(pipeline), test_mode=test_mode,
            metainfo={"classes": tuple(class_names(data_root))},
        )  # fmt: skip

    def load_data_list(self) -> list[dict]:
        """Paths and labels."""
        if self.label_list is None:
            labelled = with_labels(class_files(self.data_root))
        else:
            labelled = read_label_list(self.label_list, self.data_root, self.metainfo["classes"])
        root = Path(self.data_root).expanduser()
        return [{"img_path": str(root / path), "gt_label": label} for path, label in labelled]
