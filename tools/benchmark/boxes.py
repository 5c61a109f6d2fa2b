"""Statistics and cost of the box laws, beside those of the SCRL authors' code.

Run with ``python tools/benchmark/boxes.py``; no photos are needed, only their sizes matter.
"""
import argparse
import platform
import time
import timeit

import numpy as np

from mmsscl.datasets.random_streams import RandomStreams
from mmsscl.datasets.transforms.boxes import FreeBoxes, GridBoxes, shared_region
from mmsscl.datasets.transforms.crops import RandomAreaCrop

REPEATS, STRETCH = 10, 50
IMAGE_SIZES = ((480, 640), (375, 500))
# The authors' code (commit 62730fb), 4,000 pairs of the sizes above, area (.2, 1); time in its training process.
AUTHORS = {
    "no overlap, %": 0.3,
    "too small, %": 1.1,
    "boxes an image": 9.86,
    "tries an image": 11.7,
    "side, 10 % quantile": 34,
    "side, median": 49,
    "side, 90 % quantile": 110,
    "median area, % of view": 5.5,
    "ms an image": 0.64,
}


def measure(law: GridBoxes | FreeBoxes, crop: RandomAreaCrop, pairs: int, size: int, seed: int) -> dict[str, float]:
    """Draws pairs without redraws and measures their boxes in view 1 (the IoU is taken there too)."""
    geometry = []
    for index in range(pairs):
        generator = RandomStreams(seed, 0, index).stream("crop")
        geometry.append(np.stack([crop.sample(IMAGE_SIZES[index % 2], generator) for _ in range(2)]))
    least = np.array([shared_region(pair, size).least for pair in geometry])
    seconds = 0.0
    drawn = []
    # Short stretches, each at its best: the figure then holds on a busy machine too.
    for first in range(0, pairs, STRETCH):
        stretch = range(first, min(first + STRETCH, pairs))
        best = float("inf")
        for _ in range(REPEATS):
            generators = [RandomStreams(seed, 0, index).stream("box") for index in stretch]
            start = time.perf_counter()
            results = [law.sample(geometry[i], size, generator) for i, generator in zip(stretch, generators)]
            best = min(best, time.perf_counter() - start)
        seconds += best
        drawn.extend(results)

    boxes = np.stack([pair_boxes for pair_boxes, _ in drawn]).astype(np.float64)
    valid = np.stack([pair_valid for _, pair_valid in drawn])
    sides = boxes[:, 0, :, 2:] - boxes[:, 0, :, :2]
    quantiles = np.quantile(sides[valid], [0.1, 0.5, 0.9])
    return {
        "no overlap, %": 100 * float((least <= 0).mean()),
        "too small, %": 100 * float(((least > 0) & (least <= law.min_size)).mean()),
        "boxes an image": float(valid.sum(1).mean()),
        "tries an image": mean_tries(law, geometry, size, seed),
        "side, 10 % quantile": float(quantiles[0]),
        "side, median": float(quantiles[1]),
        "side, 90 % quantile": float(quantiles[2]),
        "median area, % of view": 100 * float(np.median(sides.prod(-1)[valid])) / size**2,
        "ms an image": 1000 * seconds / pairs,
    }


def mean_tries(law: GridBoxes | FreeBoxes, geometry: list[np.ndarray], size: int, seed: int) -> float:
    """Candidates used per image with boxes, counted on the same pairs with other draws."""
    tries = []
    for index, pair in enumerate(geometry):
        region = shared_region(pair, size)
        if region.least > law.min_size:
            generator = RandomStreams(seed, 1, index).stream("box")
            tries.append(law.choose(region, generator)[1])
    return float(np.mean(tries))


def main() -> None:
    """Prints one table for each law."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=4000, help="pairs to draw (default 4000)")
    parser.add_argument("--size", type=int, default=224, help="side of a view in pixels (default 224)")
    parser.add_argument("--min-size", type=int, default=32, help="least side of a box in view pixels (default 32)")
    parser.add_argument("--area", type=float, nargs=2, default=(0.2, 1.0), help="share of the image (default .2 1)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    print(f"python {platform.python_version()}, numpy {np.__version__}, {platform.processor() or platform.machine()}")
    print(f"{args.pairs} pairs of 640x480 and 500x375, area {tuple(args.area)}, no redraws, view {args.size} px, "
          f"boxes from {args.min_size} px, seed {args.seed}; time: one core, best of {REPEATS}")
    yardstick = min(timeit.repeat("x * x", globals={"x": np.ones(400)}, number=2000, repeat=20)) / 2000
    print(f"yardstick for the machine: numpy multiplies 400 floats in {1e6 * yardstick:.2f} us")
    crop = RandomAreaCrop(area=tuple(args.area))
    laws = (GridBoxes(min_size=args.min_size), FreeBoxes(min_size=args.min_size))
    rows = [measure(law, crop, args.pairs, args.size, args.seed) for law in laws]
    print(f"\n{'':24}{'authors (grid)':>16}{'GridBoxes':>12}{'FreeBoxes':>12}")
    for name, published in AUTHORS.items():
        print(f"{name:24}{published:>16g}" + "".join(f"{row[name]:>12.3f}" for row in rows))
    print("\nthe authors' column: area (0.2, 1), view 224 px, boxes from 32 px, as published in the project's notes")


if __name__ == "__main__":
    main()
