"""What a data set of ten million photos costs: start-up, memory, the order of an epoch, going on in the middle of one.

Ten thousand small photos stand behind all entries: the list names them again and again, the shards are links to
one. Each row is measured in a process of its own.

    python tools/benchmark/scale.py --entries 10000000
"""
import argparse
import gc
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset

from mmsscl.datasets import EpochIndexSampler, SceneImages
from mmsscl.datasets.shards import ShardIndex
from mmsscl.datasets.shards.write_shards import write_shards
from mmsscl.datasets.transforms.loading import LoadSceneImage
from mmsscl.engine.loops.resumable_epoch_loop import remaining_batches
from mmsscl.saliency.fingerprint import dataset_fingerprint

MEGABYTE = 1e6
PHOTOS = 10_000
BATCH = 256


def resident() -> float:
    """Megabytes of memory that this process holds now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / MEGABYTE


def peak() -> float:
    """The most megabytes that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE


def private(pid: int) -> float:
    """Megabytes that a process shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024 / MEGABYTE


class StringList(Dataset):
    """The usual way, to compare with: a Python list of paths, of which each worker soon has a copy."""

    def __init__(self, file: Path) -> None:
        folder = str(file.parent)
        with file.open() as lines:
            self.paths = [os.path.join(folder, line.strip()) for line in lines]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: tuple[int, int]) -> int:
        return read({"img_path": self.paths[item[1]]})


def read(results: dict) -> int:
    """Bytes are read, nothing is decoded."""
    return int(LoadSceneImage()(results)["image"].height)


def build(kind: str, folder: Path) -> Dataset:
    """A data set of one kind."""
    if kind == "list":
        return SceneImages(str(folder), ann_file="list.txt", pipeline=[read])
    if kind == "folder":
        return SceneImages(str(folder / "walk"), pipeline=[read])
    if kind == "shards":
        return SceneImages(str(folder / "shards"), shards="*.tar", pipeline=[read])
    return StringList(folder / "list.txt")


def start_up(kind: str, folder: Path) -> dict[str, float]:
    """Seconds until a data set is there, and what it then holds."""
    before = resident()
    start = time.perf_counter()
    dataset = build(kind, folder)
    seconds = time.perf_counter() - start
    return {"entries": len(dataset), "seconds": seconds, "MB": resident() - before, "peak MB": peak() - before}  # type: ignore[arg-type]


def index(folder: Path) -> dict[str, float]:
    """Seconds to read the headers of one tar file, with its photos in the page cache."""
    start = time.perf_counter()
    found = ShardIndex.scan(str(folder / "shards/photos-000000.tar"))
    return {"photos": len(found.names), "seconds": time.perf_counter() - start}


def compare(kind: str, folder: Path) -> dict[str, float]:
    """Seconds to tell whether saliency maps are of these photos, at the start of an SGCL run."""
    dataset = build(kind, folder)
    before = resident()
    start = time.perf_counter()
    dataset_fingerprint(dataset)
    return {"seconds": time.perf_counter() - start, "peak MB": peak() - before}


def workers(kind: str, folder: Path, batches: int) -> dict[str, float]:
    """What a worker has for itself after some batches, more than one that reads the first ten thousand photos only."""
    dataset = build(kind, folder)
    found = {}
    for name, entries in (("few", range(PHOTOS)), ("all", range(len(dataset)))):  # type: ignore[arg-type]
        order = np.random.default_rng(0).choice(len(entries), batches * BATCH)
        sampler = [(0, int(index)) for index in order]
        loader = DataLoader(dataset, BATCH, sampler=sampler, num_workers=2, multiprocessing_context="fork")
        start = time.perf_counter()
        iterator = iter(loader)
        for _ in range(batches - 4):
            next(iterator)
        found[f"{name} s"] = time.perf_counter() - start
        found[f"{name} MB"] = max(private(worker.pid) for worker in iterator._workers)  # type: ignore[attr-defined]
        del iterator
    images = (batches - 4) * BATCH
    return {"more MB": found["all MB"] - found["few MB"], "images/s": images / found["all s"]}


def order(entries: int, visited: int) -> dict[str, float]:
    """The order of an epoch: seconds to the first batch and for all, and memory."""
    sampler = EpochIndexSampler(range(entries), seed=0, batch_size=BATCH)
    before = resident()
    start = time.perf_counter()
    batches = iter(BatchSampler(sampler, BATCH, drop_last=True))
    next(batches)
    first = time.perf_counter() - start
    for _ in range(visited):
        if next(batches, None) is None:
            break
    return {"first s": first, "all s": time.perf_counter() - start, "MB": resident() - before, "peak MB": peak() - before}


def go_on(entries: int) -> dict[str, float]:
    """Seconds and memory to go on in the middle of an epoch."""
    loader = DataLoader(range(entries), BATCH, sampler=EpochIndexSampler(range(entries), seed=0, batch_size=BATCH))  # type: ignore[arg-type]
    before = resident()
    start = time.perf_counter()
    rest: Iterator[Any] = iter(remaining_batches(loader, len(loader) // 2).batch_sampler)  # type: ignore[arg-type]
    next(rest)
    return {"seconds": time.perf_counter() - start, "MB": resident() - before, "peak MB": peak() - before}


def alone(action: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """Runs it in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        return pool.submit(action, *arguments).result()


def write_data(folder: Path, entries: int, walked: int) -> None:
    """Photos, a list of them, empty files for a walk."""
    generator = np.random.default_rng(0)
    for number in range(PHOTOS):
        path = folder / f"train2017/{number:012d}.jpg"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), generator.integers(0, 255, (24, 32, 3), dtype=np.uint8))
    lines = "".join(f"train2017/{number:012d}.jpg\n" for number in range(PHOTOS))
    with (folder / "list.txt").open("w") as file:
        for _ in range(entries // PHOTOS):
            file.write(lines)
    (folder / "shards").mkdir()
    for _ in write_shards([f"{folder}/{line}" for line in lines.split()], str(folder), folder / "shards"):
        pass
    for number in range(1, entries // PHOTOS):
        for suffix in ("", ".index"):
            (folder / f"shards/photos-{number:06d}.tar{suffix}").symlink_to(folder / f"shards/photos-000000.tar{suffix}")
    for number in range(walked):
        if number % PHOTOS == 0:
            part = folder / f"walk/{number // PHOTOS:06d}"
            part.mkdir(parents=True)
        (part / f"{number:012d}.jpg").touch()


def show(name: str, row: dict[str, float]) -> None:
    """One line."""
    cells = "   ".join(f"{key} {value:,.0f}" if value >= 100 else f"{key} {value:.2f}" for key, value in row.items())
    print(f"{name:36}{cells}", flush=True)


def main() -> None:
    """Prints seconds and megabytes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000, help="photos of the list and the shards")
    parser.add_argument("--walked", type=int, default=100_000, help="files of the folder that is walked")
    parser.add_argument("--batches", type=int, default=200, help=f"batches of {BATCH} that the workers read")
    parser.add_argument("--folder", default=None, help="on the disk to be measured (default: that of temporary files)")
    parser.add_argument("--kinds", nargs="+", default=["strings", "list", "shards", "folder"])
    args = parser.parse_args()
    print(f"python {platform.python_version()}, torch {torch.__version__}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        write_data(folder, args.entries, args.walked if "folder" in args.kinds else 0)
        for kind in args.kinds:
            show(f"start-up, {kind}", alone(start_up, kind, folder))
        for kind in ("list", "shards"):
            show(f"comparing with saliency maps, {kind}", alone(compare, kind, folder))
        show("index of one tar file", alone(index, folder))
        for kind in args.kinds:
            if kind != "folder":
                show(f"workers, {kind}", alone(workers, kind, folder, args.batches))
    show("order of an epoch", alone(order, args.entries, args.entries // BATCH))
    show("going on in the middle of an epoch", alone(go_on, args.entries))


if __name__ == "__main__":
    main()
