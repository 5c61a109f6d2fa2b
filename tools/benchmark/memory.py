"""Memory of one pretraining step of a config: weights, optimizer state, and the activations kept for the backward pass.

Counts every distinct storage that autograd saves, by saved-tensor hooks, at two small batch sizes, and extends the line
to the config's batch. It runs on a CPU and needs no GPU; a GPU adds cuDNN workspaces and the allocator's slack, which
are not counted.

    python tools/benchmark/memory.py configs/scrl/scrl_r50_1xb64-accum4-800e_coco.py
"""
import argparse
import platform

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

import mmsscl
from mmsscl.engine.launch import replace_sync_norm
from mmsscl.registry import MODELS

GIB = 2**30


def saved_bytes(model: torch.nn.Module, images: int, size: int, boxes: int) -> int:
    """Return the bytes that autograd keeps for one bfloat16 step over ``images`` images of two views."""
    storages: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    views = [torch.rand(images, 3, size, size).contiguous(memory_format=torch.channels_last) for _ in range(2)]
    corner = torch.rand(images, 2, boxes, 2) * size / 2
    pairs = {
        "boxes": torch.cat([corner, corner + size / 4], dim=-1),
        "valid": torch.ones(images, boxes, dtype=torch.bool),
    }
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model(views, pairs, mode="loss")
    kept = sum(size for pointer, size in storages.items() if pointer not in parameters)
    del losses
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    args = parser.parse_args()
    config = Config.fromfile(args.config)
    init_default_scope(config.default_scope)
    replace_sync_norm(config._cfg_dict)
    model = MODELS.build(config.model).train()
    pair = next(t for t in config.train_dataloader.dataset.pipeline if t.type == "SpatialConsistentPair")
    few, many = (saved_bytes(model, n, pair.size, pair.boxes.num_boxes) for n in (2, 4))
    each, fixed = (many - few) / 2, 2 * few - many
    batch = config.train_dataloader.batch_size
    weights = sum(p.numel() * 4 for p in model.parameters())
    trained = sum(p.numel() * 4 for p in model.parameters() if p.requires_grad)
    total = batch * each + fixed + weights + 2 * trained
    print(f"mmsscl {mmsscl.__version__}, torch {torch.__version__}, {platform.processor() or platform.machine()}, bfloat16")
    print(f"{args.config}: batch {batch}, two {pair.size} px views an image")
    print(f"weights, online and target        {weights / GIB:6.2f} GiB")
    print(f"gradients and momentum            {2 * trained / GIB:6.2f} GiB")
    print(f"saved activations, an image       {each / 2**20:6.1f} MiB")
    print(f"saved activations, the batch      {(batch * each + fixed) / GIB:6.2f} GiB")
    print(f"sum (without workspaces)          {total / GIB:6.2f} GiB")


if __name__ == "__main__":
    main()
