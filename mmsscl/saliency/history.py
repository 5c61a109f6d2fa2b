"""The maps of a few images at every refresh of a run, to look at how saliency developed."""
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmsscl.atomic_file import atomic_file
from mmsscl.errors import InputError
from mmsscl.saliency.store_state import describe_fingerprint

KEPT_IMAGES = 16
"""Images whose maps a run keeps; 20 refreshes at 14 x 14 cells are 63 kB."""


@dataclass(frozen=True)
class SaliencyHistory:
    """Maps of the same images after different numbers of epochs, as the crops of those epochs were guided by them.

    Attributes:
        fingerprint: of the data set, see :func:`~mmsscl.saliency.fingerprint.dataset_fingerprint`.
        indices: int64 (n,), which images of it, ascending.
        maps: by number of epochs done before the refresh, ascending: uint8 (n, s, s), 255 for one.
        trust: by the same numbers: uint8 (n,).
    """

    fingerprint: str
    indices: np.ndarray
    maps: Mapping[int, np.ndarray]
    trust: Mapping[int, np.ndarray]


def append_history(
    path: str | Path, fingerprint: str, epoch: int, maps: np.ndarray, trust: np.ndarray, anew: bool = False
) -> None:
    """Add a refresh to a run's file, in place of what the file holds of this epoch and later ones.

    So a run that is resumed from an earlier epoch ends with the same file as one that was never interrupted. A file of
    another data set or size of map is begun anew. Readers see the old file or the new one, never a part.

    Args:
        path: the file (``.npz``); its folder must exist.
        fingerprint: of the data set.
        epoch: number of epochs done before the refresh.
        maps: uint8 (N, s, s), of the whole data set; :data:`KEPT_IMAGES` of them are kept, evenly spread.
        trust: uint8 (N,).
        anew: leave out what the file holds of earlier epochs too: it is another run's.

    Raises:
        InputError: the file there is damaged, or cannot be written.
    """
    path = Path(path)
    indices = spread_indices(len(maps), KEPT_IMAGES)
    entries = {epoch: (maps[indices], trust[indices])}
    if not anew and path.exists():
        before = read_history(path)
        same_images = before.fingerprint == fingerprint and np.array_equal(before.indices, indices)
        if same_images and all(each.shape[1:] == maps.shape[1:] for each in before.maps.values()):
            entries |= {key: (before.maps[key], before.trust[key]) for key in before.maps if key < epoch}
    arrays = {"fingerprint": np.array(fingerprint), "indices": indices}
    for key in sorted(entries):
        arrays[f"maps_{key}"], arrays[f"trust_{key}"] = entries[key]
    try:
        with atomic_file(path) as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}). Check permissions and space.") from error


def read_history(path: str | Path, fingerprint: str | None = None) -> SaliencyHistory:
    """Read what :func:`append_history` wrote.

    Args:
        path: the file.
        fingerprint: of the data set in use; ``None``: whichever the file is for.

    Raises:
        InputError: the file is absent, no such file, damaged, or for another data set.

    Example:
        >>> history = read_history("work_dirs/sgcl_r50_coco/saliency_history.npz")
        >>> sorted(history.maps)
        [40, 80, 120]
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: no such file. SaliencyRefreshHook writes saliency_history.npz into the work_dir at its first refresh."
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}). Check the path and its owner.") from error
    except (ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        # numpy hands out whatever its parsers meet; an .npy file has no names
        raise _no_history(path, "not an .npz file, or damaged") from error
    epochs = sorted(int(name[5:]) for name in arrays if name.startswith("maps_") and name[5:].isdecimal())
    wanted = {"fingerprint", "indices"} | {f"{part}_{epoch}" for epoch in epochs for part in ("maps", "trust")}
    if not epochs or wanted != set(arrays):
        raise _no_history(path, f"it holds {', '.join(sorted(arrays)[:4]) or 'nothing'}")
    maps = {epoch: arrays[f"maps_{epoch}"] for epoch in epochs}
    trust = {epoch: arrays[f"trust_{epoch}"] for epoch in epochs}
    history = SaliencyHistory(str(arrays["fingerprint"]), arrays["indices"], maps, trust)
    count, shape = len(np.atleast_1d(history.indices)), maps[epochs[0]].shape
    for epoch in epochs:
        found = (maps[epoch].shape, maps[epoch].dtype, trust[epoch].shape, trust[epoch].dtype)
        if len(shape) != 3 or shape[0] != count or found != (shape, np.uint8, (count,), np.uint8):
            raise _no_history(path, f"its maps of epoch {epoch} are {maps[epoch].dtype} {maps[epoch].shape}")
    if fingerprint is not None and fingerprint != history.fingerprint:
        held, used = describe_fingerprint(history.fingerprint), describe_fingerprint(fingerprint)
        raise InputError(
            f"{path}: holds the saliency maps of another data set ({held}; the config's: {used}). Give the config that the "
            "run was trained with, and the images where they were."
        )
    return history


def spread_indices(count: int, most: int) -> np.ndarray:
    """Up to ``most`` of the indices 0 to ``count - 1``, evenly spread, first and last among them: int64, ascending."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))


def _no_history(path: str | Path, detail: str) -> InputError:
    return InputError(f"{path}: is no saliency history ({detail}). Give the saliency_history.npz of a work_dir.")
