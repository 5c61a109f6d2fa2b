"""SceneBench as a command: ``mmsscl bench run | table`` and ``tools/benchmark/scene_bench.py``."""
import argparse
import os
import sys
from pathlib import Path

from mmsscl.engine.config import INSTALLED
from mmsscl.errors import InputError
from mmsscl.evaluation.scene_bench.cell import Cell, run_cell
from mmsscl.evaluation.scene_bench.child_process import run_child
from mmsscl.evaluation.scene_bench.methods import METHODS
from mmsscl.evaluation.scene_bench.settings import STAGES, BenchSettings
from mmsscl.evaluation.scene_bench.table import markdown, plot, read_cells, write_into

_ROOT = Path(__file__).resolve().parents[3]


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Of ``mmsscl bench run``."""
    parser.add_argument("--data", required=True, help="folder with voc_scenes, coco_mini, caltech101 and ecssd")
    parser.add_argument("--out", required=True, help="folder of the bench: a folder a cell")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=["random", "byol", "scrl", "scrl_sgcl"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--pretrained", nargs="+", default=[], metavar="METHOD=FILE",
                        help="checkpoints of these very pretrainings, run before, for the one seed")  # fmt: skip
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--photos", type=int, help="so many of the pretraining photos, evenly spread (default: all)")
    parser.add_argument("--detection-steps", type=int, help="of each fine-tuning (default: 1500)")
    parser.add_argument("--region-photos", type=int, default=300)
    parser.add_argument("--saliency-photos", type=int, help="default: all")
    parser.add_argument("--float32", action="store_true", help="train in float32 (default: bfloat16)")
    parser.add_argument("--keep-decoded", type=float, help="GB for decoded photos (default: 4, or a quarter of the memory)")
    parser.add_argument("--workers", type=int, help="in pretraining (default: the config's; on a GPU by its cores)")
    parser.add_argument("--device", help="of the measures (default: a GPU if there is one)")


def run_cells(options: argparse.Namespace) -> str:
    """Run cells, or what is left of them, one after the other.

    Returns:
        The table of the cells that are there.

    Raises:
        InputError: An option makes no sense, or a step failed.
        CellStopped: A step was told to stop.
    """
    settings = BenchSettings(
        data=options.data, configs=str(_configs()), epochs=options.epochs, photos=options.photos,
        detection_steps=options.detection_steps, region_photos=options.region_photos,
        saliency_photos=options.saliency_photos, amp=None if options.float32 else "bf16", device=options.device,
        keep_decoded=options.keep_decoded, workers=options.workers,
    )  # fmt: skip
    given = _pretrained(options)
    for seed in options.seeds:
        for method in options.methods:
            run_cell(Cell(method, seed), options.out, settings, _run_verb, options.stages, given.get(method))
    return markdown(read_cells(options.out))


def add_table_arguments(parser: argparse.ArgumentParser) -> None:
    """Of ``mmsscl bench table``."""
    parser.add_argument("--out", required=True, help="folder of the bench")
    parser.add_argument("--into", help="also put it between the marks of this Markdown file")
    parser.add_argument("--plot", help="also draw it into this PNG")


def make_table(options: argparse.Namespace) -> str:
    """The table of the cells that are there, also put where it is wanted.

    Raises:
        InputError: There are none, they do not compare, or a file cannot be written.
    """
    cells = read_cells(options.out)
    text = markdown(cells)
    if options.into:
        write_into(options.into, text)
    if options.plot:
        plot(cells, options.plot)
    return text


def _configs() -> Path:
    """The package's own, whatever lies in the current folder."""
    return INSTALLED / "configs" if INSTALLED.is_dir() else _ROOT / "configs"


def _run_verb(command: list[str]) -> int:
    """In a process of its own, so that no cell sees what another leaves in memory."""
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    return run_child([sys.executable, "-m", "mmsscl.cli", *command], environment)


def _pretrained(options: argparse.Namespace) -> dict[str, str]:
    given = dict(word.partition("=")[::2] for word in options.pretrained)
    if given and len(options.seeds) > 1:
        raise InputError("--pretrained: a checkpoint has one seed. Run one of --seeds at a time.")
    for method, file in given.items():
        if method not in options.methods or not METHODS[method].trains:
            raise InputError(f"--pretrained {method}={file}: {method!r} is not a method that --methods pretrains.")
        if not file:
            raise InputError(f"--pretrained {method}: names no file. Write {method}=FILE.")
        if not Path(file).is_file():
            raise InputError(f"--pretrained {method}={file}: no such file. Name the checkpoint of a pretraining's end.")
    return given
