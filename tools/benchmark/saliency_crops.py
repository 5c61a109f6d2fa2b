"""What saliency costs in a worker, above the plain laws, without decoding or cutting any pixel.

Run with ``python tools/benchmark/saliency_crops.py``; no photos are needed, only their sizes matter. Plain and guided
laws are timed in turn, in short stretches of which the best counts; a busy machine still slows all of them alike, so
compare the ratios.
"""
import argparse
import platform
import time
import timeit
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch

from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.datasets.transforms import GridBoxes, RandomAreaCrop, SaliencyBoxes, SaliencyCrop, ScoreCrops
from mmsscl.structures.saliency_map import SaliencyMap

STRETCH, MAPS = 5, 50
IMAGE_SIZES = ((480, 640), (375, 500))
GOAL = 0.1


def stretches(count: int, repeats: int, variants: dict[str, Callable[[int, RandomStreams], object]], seed: int) -> dict:
    """ms an image of each variant: the best of ``repeats`` for each stretch, variants in turn."""
    seconds = dict.fromkeys(variants, 0.0)
    for first in range(0, count, STRETCH):
        best = dict.fromkeys(variants, float("inf"))
        for _ in range(repeats):
            for name, variant in variants.items():
                streams = [RandomStreams(seed, 0, index) for index in range(first, first + STRETCH)]
                start = time.perf_counter()
                for index, stream in enumerate(streams, first):
                    variant(index, stream)
                best[name] = min(best[name], time.perf_counter() - start)
        for name in variants:
            seconds[name] += best[name]
    return {name: 1000 * value / count for name, value in seconds.items()}


def main() -> None:
    """Prints the cost of crops, boxes and scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300, help="images (default 300)")
    parser.add_argument("--repeats", type=int, default=20, help="times each stretch is run (default 20)")
    parser.add_argument("--map-size", type=int, default=14, help="cells a side of a map (default 14)")
    parser.add_argument("--guidance", type=float, default=1.0, help="strength times trust (default 1, the dearest)")
    parser.add_argument("--lambda-max", type=float, default=0.7, help="of SaliencyCrop (default .7)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    maps = np.random.default_rng(args.seed).random((MAPS, args.map_size, args.map_size), dtype=np.float32)
    plain, guided = RandomAreaCrop(), SaliencyCrop(lambda_max=args.lambda_max)
    grid, salient = GridBoxes(), SaliencyBoxes()
    views = [torch.zeros(3, 224, 224, dtype=torch.uint8)] * 2

    def saliency(index: int, streams: RandomStreams) -> SaliencyMap:
        return SaliencyMap(maps[index % MAPS], args.guidance, 1.0, streams.stream("saliency"))

    def crops(law: RandomAreaCrop, size: tuple[int, int], streams: RandomStreams, known: SaliencyMap | None) -> list:
        generator = streams.stream("crop")
        return [law.sample(size, generator, known) for _ in range(2)]

    geometry = [np.stack(crops(plain, IMAGE_SIZES[i % 2], RandomStreams(1, 0, i), None)) for i in range(args.images)]
    boxes = [grid.sample(pair, 224, np.random.default_rng(0))[0] for pair in geometry]

    def score(index: int, streams: RandomStreams) -> object:
        height, width = IMAGE_SIZES[index % 2]
        return ScoreCrops()({
            "image": SimpleNamespace(height=height, width=width), "views": views, "geometry": geometry[index],
            "boxes": boxes[index], "saliency": saliency(index, streams),
        })  # fmt: skip

    variants: dict[str, Callable[[int, RandomStreams], object]] = {
        "RandomAreaCrop, two crops": lambda i, s: crops(plain, IMAGE_SIZES[i % 2], s, None),
        "SaliencyCrop, two crops, no map": lambda i, s: crops(guided, IMAGE_SIZES[i % 2], s, None),
        "SaliencyCrop, two crops": lambda i, s: crops(guided, IMAGE_SIZES[i % 2], s, saliency(i, s)),
        "GridBoxes": lambda i, s: grid.sample(geometry[i], 224, s.stream("box")),
        "SaliencyBoxes": lambda i, s: salient.sample(
            geometry[i], 224, s.stream("box"), saliency(i, s), IMAGE_SIZES[i % 2]
        ),
        "ScoreCrops, two views and ten boxes": score,
    }
    print(f"python {platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}, "
          f"{platform.processor() or platform.machine()}, one core")
    print(f"{args.images} images of 640x480 and 500x375, maps of {args.map_size} cells a side, guidance "
          f"{args.guidance:g}, lambda_max {args.lambda_max:g}, seed {args.seed}, best of {args.repeats}")
    yardstick = min(timeit.repeat("x * x", globals={"x": np.ones(400)}, number=2000, repeat=20)) / 2000
    print(f"yardstick for the machine: numpy multiplies 400 floats in {1e6 * yardstick:.2f} us\n")
    images = args.images - args.images % STRETCH
    if not images:
        parser.error(f"--images {args.images}: give at least {STRETCH}")
    cost = stretches(images, args.repeats, variants, args.seed)
    for name, value in cost.items():
        print(f"{name:40}{value:8.4f} ms an image")
    for name, base, other, goal in (
        ("both crops", "SaliencyCrop, two crops", "RandomAreaCrop, two crops", f"; goal {GOAL} ms"),
        ("boxes", "SaliencyBoxes", "GridBoxes", ""),
    ):
        print(f"{name + ', saliency above plain':40}{cost[base] - cost[other]:8.4f} ms an image, "
              f"{cost[base] / cost[other]:.1f} x{goal}")


if __name__ == "__main__":
    main()
