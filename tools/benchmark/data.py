"""Cost of the data path: milliseconds an image on one core, beside its floor and a pipeline in the peers' style.

All paths read the same generated photos and give two views an image. Machines are noisy: the paths take turns, each
round measures all of them, and the ratios are medians over rounds.

Example:
    python tools/benchmark/data.py
    python tools/benchmark/data.py --data-root data/coco/train2017 --images 120
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import mmcv
import mmengine
import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from torch.utils.data import default_collate
from torchvision import transforms

from mmsscl.datasets import SceneImages
from mmsscl.models.data_preprocessor import PairDataPreprocessor

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
GOALS = {
    ("worker", "floor"): 1.25,
    ("complete", "peer"): 0.7,
}


def write_photos(folder: Path, count: int, height: int = 480, width: int = 640, quality: int = 90) -> None:
    """Writes JPEG files with the texture of photos: detail at all scales, amplitude falling with frequency."""
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = np.full((height, width, 3), 128, dtype=np.float32)
        for octave in range(1, 10):
            cells = 2**octave
            grid = rng.normal(0, 90 * 0.72**octave, (cells * 3 // 4 + 2, cells + 2, 3)).astype(np.float32)
            pixels += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        path = str(folder / f"{number:04d}.jpg")
        cv2.imwrite(path, pixels.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])


def pair_pipeline(size: int) -> list[dict]:
    """Our worker's share."""
    return [
        {"type": "LoadSceneImage"},
        {
            "type": "SpatialConsistentPair",
            "size": size,
            "views": [{"type": "RandomAreaCrop"}, {"type": "RandomAreaCrop"}],
            "boxes": {"type": "GridBoxes"},
        },
        {"type": "DrawPhotometric"},
        {"type": "PackPair"},
    ]


class Floor:
    """The least work: read, decode, two antialiased crop-resizes, with boxes of the usual area law."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.rng = np.random.default_rng(0)

    def __call__(self, path: str) -> list[torch.Tensor]:
        data = np.fromfile(path, dtype=np.uint8)
        image = torch.from_numpy(cv2.imdecode(data, cv2.IMREAD_COLOR)).permute(2, 0, 1)[None]
        return [self.view(image) for _ in range(2)]

    def view(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[-2:]
        side = np.sqrt(self.rng.uniform(0.2, 1.0))
        rows, columns = int(height * side), int(width * side)
        top, left = self.rng.integers(0, height - rows + 1), self.rng.integers(0, width - columns + 1)
        crop = image[..., top : top + rows, left : left + columns]
        return torch.nn.functional.interpolate(crop, (self.size, self.size), mode="bicubic", antialias=True)


class ResizeBlur:
    """Shrinks a Pillow image by one of SCRL's three factors and enlarges it again."""

    def __call__(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        factor = (1.1, 1.2, 1.5)[int(torch.randint(3, ()))]
        small = (round(width / factor), round(height / factor))
        return image.resize(small, Image.Resampling.BICUBIC).resize((width, height), Image.Resampling.BICUBIC)


class Peer:
    """Two views in the style of published BYOL-like code: Pillow images and torchvision transforms, all on the CPU.

    Written for this benchmark from the papers' augmentation tables (BYOL, appendix B; SCRL, appendix); without boxes.
    """

    def __init__(self, size: int) -> None:
        def view(blur: float, solarize: float) -> transforms.Compose:
            jitter = transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)
            return transforms.Compose(
                [
                    transforms.RandomResizedCrop(size, (0.2, 1.0), interpolation=transforms.InterpolationMode.BICUBIC),
                    transforms.RandomHorizontalFlip(),
                    transforms.RandomApply([jitter], 0.8),
                    transforms.RandomGrayscale(0.2),
                    transforms.RandomApply([ResizeBlur()], blur),
                    transforms.RandomSolarize(128, solarize),
                    transforms.ToTensor(),
                    transforms.Normalize([m / 255 for m in MEAN], [s / 255 for s in STD]),
                ]
            )

        self.views = [view(1.0, 0.0), view(0.1, 0.2)]

    def __call__(self, path: str) -> list[torch.Tensor]:
        with open(path, "rb") as file:
            image = Image.open(file).convert("RGB")
        return [view(image) for view in self.views]


def milliseconds(action: Callable[[], object], images: int) -> float:
    """Wall time of the action, in milliseconds an image."""
    start = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - start) / images


def measure(data_root: str, size: int, batch: int, images: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds an image of each path, one entry a round."""
    dataset = SceneImages(data_root, pipeline=pair_pipeline(size), indices=images)
    keeping = SceneImages(data_root, pipeline=pair_pipeline(size), indices=images, keep_decoded=4)
    count = len(dataset)
    paths = [dataset.path(index) for index in range(count)]
    floor, peer, preprocessor = Floor(size), Peer(size), PairDataPreprocessor(MEAN, STD)

    def worker(photos: SceneImages, epoch: int) -> None:
        for index in range(count):
            photos[epoch, index]

    def complete(epoch: int) -> None:
        for start in range(0, count, batch):
            samples = [dataset[epoch, index] for index in range(start, min(start + batch, count))]
            preprocessor(default_collate(samples), training=True)

    times: dict[str, list[float]] = {"floor": [], "worker": [], "kept": [], "complete": [], "peer": []}
    # Round 0 warms caches and is not counted.
    for epoch in range(rounds + 1):
        found = {
            "floor": milliseconds(lambda: [floor(path) for path in paths], count),
            "worker": milliseconds(lambda epoch=epoch: worker(dataset, epoch), count),
            "kept": milliseconds(lambda epoch=epoch: worker(keeping, epoch), count),
            "complete": milliseconds(lambda epoch=epoch: complete(epoch), count),
            "peer": milliseconds(lambda: [peer(path) for path in paths], count),
        }
        if epoch:
            for name, value in found.items():
                times[name].append(value)
    return times


def main() -> None:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", help="folder with photos; default: generated 640x480 JPEGs of quality 90")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32, help="images a batch in the device-side part")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.data_root is None:
            write_photos(Path(folder), arguments.images)
        root = arguments.data_root or folder
        photos = SceneImages(root, indices=arguments.images)
        kilobytes = sum(os.path.getsize(photos.path(index)) for index in range(len(photos))) / len(photos) / 1000
        times = measure(root, arguments.size, arguments.batch, arguments.images, arguments.rounds)

    print(
        f"device: CPU {platform.processor() or platform.machine()}, 1 thread of {os.cpu_count()} cores; "
        f"Python {platform.python_version()}, torch {torch.__version__}, torchvision {torchvision.__version__}, "
        f"OpenCV {cv2.__version__}, Pillow {PIL.__version__}, mmcv {mmcv.__version__}, mmengine {mmengine.__version__}"
    )
    print(
        f"settings: {len(photos)} images from {arguments.data_root or 'generated 640x480 JPEGs, quality 90'}, "
        f"{kilobytes:.0f} kB each, two {arguments.size} px views, "
        f"batch {arguments.batch}, median of {arguments.rounds} rounds"
    )
    titles = {
        "floor": "floor: decode, two antialiased crop-resizes",
        "worker": "ours, in a worker: views, boxes, parameters",
        "kept": "the same, of photos that are kept decoded",
        "complete": "ours, complete views on this core",
        "peer": "peer style: Pillow and torchvision, views only",
    }
    for name, title in titles.items():
        values = times[name]
        print(f"{title:50s} {median(values):7.2f} ms an image   (rounds {min(values):.2f} - {max(values):.2f})")
    for (name, base), goal in GOALS.items():
        ratio = median(value / other for value, other in zip(times[name], times[base]))
        verdict = "reached" if ratio <= goal else "MISSED"
        print(f"{name} / {base}: {ratio:.2f}   goal <= {goal}: {verdict}")
    for name, base in (("peer", "worker"), ("worker", "kept")):
        print(f"{name} / {base}: {median(value / other for value, other in zip(times[name], times[base])):.2f}")


if __name__ == "__main__":
    main()
