"""What safe saving costs: a checkpoint written atomically beside one written in place, and all that is added to it.

The checkpoint is that of a pretraining config: model, target network, and a momentum buffer for each trained parameter.

    python tools/benchmark/saving.py configs/scrl_r50_coco.py --folder work_dirs
"""
import argparse
import io
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.fileio import LocalBackend
from mmengine.registry import init_default_scope

from mmsscl.engine.checkpoints.atomic_backend import AtomicLocalBackend
from mmsscl.engine.checkpoints.find_checkpoint import check_whole
from mmsscl.engine.launch import replace_sync_norm
from mmsscl.random_states import gather_random_states
from mmsscl.registry import MODELS


def best(action: Callable[[], object], repeats: int) -> float:
    """Least seconds of some calls."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def serialised(content: dict) -> bytes:
    """As mmengine does it, in memory first."""
    with io.BytesIO() as stream:
        torch.save(content, stream)
        return stream.getvalue()


def main() -> None:
    """Prints seconds and bytes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--folder", default=".", help="on the disk to be measured (default: here)")
    parser.add_argument("--repeats", type=int, default=5, help="the least time of so many counts (default 5)")
    args = parser.parse_args()
    config = Config.fromfile(args.config)
    init_default_scope(config.default_scope)
    replace_sync_norm(config._cfg_dict)
    model = MODELS.build(config.model)
    trained = [p for p in model.parameters() if p.requires_grad]
    content = {
        "meta": {"epoch": 1, "iter": 100},
        "message_hub": {},
        "state_dict": model.state_dict(),
        "optimizer": {"state": {i: {"momentum_buffer": torch.randn_like(p)} for i, p in enumerate(trained)}},
    }
    data = serialised(content)
    states = gather_random_states()
    extra = len(serialised({**content, "random_states": states})) - len(data)
    print(f"python {platform.python_version()}, torch {torch.__version__}, {platform.processor() or platform.machine()}, "
          f"best of {args.repeats}")
    print(f"{args.config}: checkpoint of {len(data) / 1e6:.0f} MB; random states {extra / 1e3:.1f} kB of it a process\n")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        file = Path(folder) / "epoch_1.pth"

        def in_place_and_to_disk() -> None:
            LocalBackend().put(data, file)
            with file.open("rb") as stream:
                os.fsync(stream.fileno())

        rows = {
            "serialise": lambda: serialised(content),
            "write in place (mmengine)": lambda: LocalBackend().put(data, file),
            "write in place, then to disk": in_place_and_to_disk,
            "write atomically (to disk, renamed)": lambda: AtomicLocalBackend().put(data, file),
            "take and gather random states": gather_random_states,
            "check a checkpoint before resuming": lambda: check_whole(file),
        }
        for name, action in rows.items():
            print(f"{name:40}{best(action, args.repeats):9.4f} s")


if __name__ == "__main__":
    main()
