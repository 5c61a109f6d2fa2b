"""Handing a sample the saliency map of its image."""
import os
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from mmsscl.errors import InputError
from mmsscl.registry import TRANSFORMS
from mmsscl.saliency.baseline_maps import gaussian_map, uniform_map
from mmsscl.saliency.schedule import SaliencySchedule
from mmsscl.saliency.store import SaliencyStore
from mmsscl.structures import SaliencyMap

SOURCES = ("store", "shuffled", "gaussian", "uniform")


@TRANSFORMS.register_module()
class LoadSaliency(BaseTransform):
    """Puts the saliency map of the sample's image, read from the store that ``SaliencyRefreshHook`` keeps.

    The hook connects it before training; until then, and in a run without the hook, there is no map and everything
    after it works as it does without saliency. The map is read at each sample, so a worker that lives through the whole run
    sees each refresh.

    The sources other than ``"store"`` are controls: they keep each image's own trust and the schedule's strength, so
    as often is guided, but by a map that knows nothing of the image. A gain they share is not saliency's. A shuffled map
    may be one that its own image would not trust, so a little less is guided by it than the trust says.

    Required keys: ``sample_idx``; ``epoch`` and ``streams`` (:class:`~mmsscl.datasets.RandomStreams`) as ``SceneImages``
    puts them. Added key: ``saliency``: :class:`~mmsscl.structures.SaliencyMap`, or ``None`` where not connected.

    Args:
        source: ``"store"``: the image's own map; ``"shuffled"``: another image's, by a fixed permutation that leaves
            no image its own; ``"gaussian"``: a centred Gaussian; ``"uniform"``: the same value everywhere.
        seed: Of the permutation.
        store: The store of a finished run, to read at full strength in every epoch, where there is no
            ``SaliencyRefreshHook``: in a pipeline of mmpretrain, which also may lack ``streams`` (then a generator is
            seeded from numpy's).
            ``SaliencyStoreCheckHook`` sees to it that the store is this data set's. Not that of a run that goes on: on
            resuming, a run puts another file in its place.

    Raises:
        InputError: Another source, a data set too small to shuffle, or a ``store`` that is absent, damaged or without
            maps yet.

    Example:
        >>> pipeline = [dict(type="LoadSceneImage"), dict(type="LoadSaliency"), dict(type="SpatialConsistentPair")]
    """

    def __init__(self, source: str = "store", seed: int = 0, store: str | None = None) -> None:
        if source not in SOURCES:
            raise InputError(f"LoadSaliency: source={source!r} is not known. Use one of {', '.join(SOURCES)}.")
        self.source = source
        self.seed = seed
        self._path: str | None = None
        self._schedule: SaliencySchedule | None = None
        self._fingerprint: str | None = None
        self._partners: np.ndarray | None = None
        self._same_for_all: np.ndarray | None = None
        self._store: SaliencyStore | None = None
        self._process: int | None = None
        self.store_path = store
        if store is not None:
            self.connect(store, None, None)

    def connect(self, store_path: str, schedule: SaliencySchedule | None, fingerprint: str | None) -> None:
        """Say where the maps are; call it before the data loader starts its workers.

        Args:
            store_path: The store's file; it must exist.
            schedule: How much the maps count in each epoch; ``None``: fully.
            fingerprint: Of the data set; ``None``: not checked.

        Raises:
            InputError: The store is absent, damaged or for another data set; it holds no maps yet and there is no
                schedule to wait for them; or there is one image and ``source`` is ``"shuffled"``.
        """
        store = _open(store_path, schedule, fingerprint)
        self._partners = partners(store.count, self.seed) if self.source == "shuffled" else None
        self._same_for_all = None
        if self.source in ("gaussian", "uniform"):
            self._same_for_all = gaussian_map(store.size) if self.source == "gaussian" else uniform_map(store.size)
            self._same_for_all.flags.writeable = False
        self._path, self._schedule, self._fingerprint = str(store_path), schedule, fingerprint
        self._store, self._process = store, os.getpid()

    def transform(self, results: dict) -> dict:
        """Puts ``saliency``."""
        if self._path is None:
            results["saliency"] = None
            return results
        store, index = self._opened(), results["sample_idx"]
        try:
            values, trust = store.read(index)
        except IndexError as error:
            raise InputError(f"LoadSaliency: {error}. The store is for another data set: set store to its own.") from error
        if self._partners is not None:
            values, _ = store.read(int(self._partners[index]))
        elif self._same_for_all is not None:
            values = self._same_for_all
        strength = 1.0 if self._schedule is None else self._schedule.strength(results["epoch"])
        streams = results.get("streams")
        generator = np.random.default_rng(np.random.randint(2**31)) if streams is None else streams.stream("saliency")
        results["saliency"] = SaliencyMap(values, trust, strength, generator)
        return results

    def _opened(self) -> SaliencyStore:
        # Each process maps the file itself: nothing is inherited that another process might close or replace.
        if self._store is None or self._process != os.getpid():
            assert self._path is not None
            self._store, self._process = _open(self._path, self._schedule, self._fingerprint), os.getpid()
        return self._store

    def __getstate__(self) -> dict[str, Any]:
        """Leave the mapped file behind: a spawned worker opens its own."""
        return self.__dict__ | {"_store": None, "_process": None}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(source={self.source!r}, seed={self.seed})"


def _open(path: str, schedule: SaliencySchedule | None, fingerprint: str | None) -> SaliencyStore:
    store = SaliencyStore.open(path, fingerprint)
    if schedule is None and store.version == 0:
        raise InputError(
            f"LoadSaliency: {path} holds no saliency maps yet: crops would be plain. Name the store of a run that is "
            "finished, and check that its SaliencyRefreshHook refreshed at least once (warmup_epochs below max_epochs - 1)."
        )
    return store


def partners(count: int, seed: int) -> np.ndarray:
    """A random permutation of ``count`` images without a fixed point: one cycle through all of them.

    Args:
        count: At least 2.
        seed: The permutation is a function of it and ``count``.

    Returns:
        int64 (count,): the image whose map each image is given.

    Raises:
        InputError: There is one image only.
    """
    if count < 2:
        raise InputError("LoadSaliency: source='shuffled' needs 2 images or more; the data set has 1. Use 'uniform'.")
    order = np.random.default_rng([seed, count]).permutation(count)
    result = np.empty(count, np.int64)
    result[order] = np.roll(order, -1)
    return result
