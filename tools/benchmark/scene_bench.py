"""Compare pretrainings on real scenes under one budget: SceneBench.

    python tools/benchmark/scene_bench.py run --data data/scenes --out work_dirs/scene_bench --methods random byol scrl
    python tools/benchmark/scene_bench.py table --out work_dirs/scene_bench --into README.md --plot scene_bench.png

The data folder holds voc_scenes and coco_mini (scenes), caltech101 (classes) and ecssd (object masks). Cells are run one
after the other; one that was cut goes on when the same command is run again.
"""
import argparse
import subprocess
import sys
from pathlib import Path

from mmsscl.errors import InputError
from mmsscl.evaluation.scene_bench import METHODS, BenchSettings, Cell, run_cell
from mmsscl.evaluation.scene_bench.cell import CellStopped
from mmsscl.evaluation.scene_bench.settings import STAGES
from mmsscl.evaluation.scene_bench.table import markdown, plot, read_cells, write_into

ROOT = Path(__file__).resolve().parents[2]


def run_verb(command: list[str]) -> int:
    """Runs a command line in a process of its own, so that no cell sees what another leaves in memory."""
    return subprocess.run([sys.executable, "-m", "mmsscl.cli", *command], cwd=Path.cwd(), check=False).returncode


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="run cells, or what is left of them")
    run.add_argument("--data", required=True)
    run.add_argument("--out", required=True)
    run.add_argument("--methods", nargs="+", choices=list(METHODS), default=["random", "byol", "scrl", "scrl_sgcl"])
    run.add_argument("--seeds", nargs="+", type=int, default=[0])
    run.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    run.add_argument("--pretrained", nargs="+", default=[], metavar="METHOD=FILE",
                     help="checkpoints of these very pretrainings, run before, for the one seed")  # fmt: skip
    run.add_argument("--epochs", type=int, default=12)
    run.add_argument("--photos", type=int, help="so many of the pretraining photos, evenly spread (default: all)")
    run.add_argument("--detection-steps", type=int, help="of each fine-tuning (default: 1500)")
    run.add_argument("--region-photos", type=int, default=300)
    run.add_argument("--saliency-photos", type=int, help="default: all")
    run.add_argument("--float32", action="store_true", help="train in float32 (default: bfloat16)")
    run.add_argument("--keep-decoded", type=float, help="GB for decoded photos (default: 4, or a quarter of the memory)")
    run.add_argument("--workers", type=int, help="in pretraining (default: the config's; on a GPU by the number of cores)")
    run.add_argument("--device", help="of the measures (default: a GPU if there is one)")
    table = verbs.add_parser("table", help="print the table of the cells that are there")
    table.add_argument("--out", required=True)
    table.add_argument("--into", help="also put it between the marks of this Markdown file")
    table.add_argument("--plot", help="also draw it into this PNG")
    return parser.parse_args()


def pretrained(args: argparse.Namespace) -> dict[str, str]:
    """Checkpoints by method."""
    given = dict(word.partition("=")[::2] for word in args.pretrained)
    if given and len(args.seeds) > 1:
        raise InputError("--pretrained: a checkpoint has one seed. Run one of --seeds at a time.")
    for method, file in given.items():
        if method not in args.methods or not METHODS[method].trains:
            raise InputError(f"--pretrained {method}={file}: {method!r} is not a method that --methods pretrains.")
        if not file:
            raise InputError(f"--pretrained {method}: names no file. Write {method}=FILE.")
        if not Path(file).is_file():
            raise InputError(f"--pretrained {method}={file}: no such file. Name the checkpoint of a pretraining's end.")
    return given


def main() -> int:
    """Runs cells or shows them."""
    args = arguments()
    try:
        if args.verb == "table":
            cells = read_cells(args.out)
            text = markdown(cells)
            print(text)
            if args.into:
                write_into(args.into, text)
            if args.plot:
                plot(cells, args.plot)
            return 0
        settings = BenchSettings(
            data=args.data, configs=str(ROOT / "configs"), epochs=args.epochs, photos=args.photos,
            detection_steps=args.detection_steps, region_photos=args.region_photos, saliency_photos=args.saliency_photos,
            amp=None if args.float32 else "bf16", device=args.device, keep_decoded=args.keep_decoded,
            workers=args.workers,
        )  # fmt: skip
        given = pretrained(args)
        for seed in args.seeds:
            for method in args.methods:
                run_cell(Cell(method, seed), args.out, settings, run_verb, args.stages, given.get(method))
        print(markdown(read_cells(args.out)))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except CellStopped as stopped:
        print(stopped, file=sys.stderr)
        return 75
    except KeyboardInterrupt:
        print("stopped. The same command goes on.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
