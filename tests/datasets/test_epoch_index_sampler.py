import pytest
import torch
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch.utils.data import DataLoader, Dataset

from mmsscl.datasets import EpochIndexSampler
from mmsscl.errors import InputError
from mmsscl.registry import DATA_SAMPLERS


class Pairs(Dataset):
    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, item: tuple[int, int]) -> torch.Tensor:
        return torch.tensor(item)


def epoch_of(sampler: EpochIndexSampler, epoch: int) -> list[tuple[int, int]]:
    sampler.set_epoch(epoch)
    return list(sampler)


def test_order_depends_on_seed_and_epoch_only():
    sampler = EpochIndexSampler(range(50), seed=1)
    first, second = epoch_of(sampler, 0), epoch_of(sampler, 1)
    assert sorted(index for _, index in first) == list(range(50))
    assert {epoch for epoch, _ in second} == {1}
    assert [index for _, index in first] != [index for _, index in second]
    assert epoch_of(sampler, 0) == first
    assert epoch_of(EpochIndexSampler(range(50), seed=1), 1) == second
    orders = [
        tuple(i for _, i in epoch_of(EpochIndexSampler(range(50), seed=s), e)) for s in range(4) for e in range(4)
    ]
    assert len(set(orders)) == 16
    assert epoch_of(EpochIndexSampler(range(4), shuffle=False), 2) == [(2, 0), (2, 1), (2, 2), (2, 3)]


@pytest.mark.parametrize("size", [65_535, 65_536, 200_001])
def test_large_epochs_are_whole(size):
    order = [index for _, index in epoch_of(EpochIndexSampler(range(size), seed=0), 1)]
    assert sorted(order) == list(range(size))
    parts = [epoch_of(EpochIndexSampler(range(size), seed=0, rank=rank, world_size=2), 1) for rank in range(2)]
    assert [part[0][1] for part in parts] == order[:2]
    assert all(part == [(1, index) for index in order[rank : size - size % 2 : 2]] for rank, part in enumerate(parts))


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("size", [64, 67])
def test_global_batches_do_not_depend_on_the_ranks(world_size, size):
    def batches(rank: int, ranks: int) -> list[set]:
        sampler = EpochIndexSampler(range(size), seed=3, rank=rank, world_size=ranks)
        order = epoch_of(sampler, 5)
        batch = 8 // ranks
        return [set(order[start : start + batch]) for start in range(0, len(order) - batch + 1, batch)]

    single = batches(0, 1)
    parts = [batches(rank, world_size) for rank in range(world_size)]
    assert [set.union(*part) for part in zip(*parts, strict=True)] == single
    assert all(len(batch) == 8 for batch in single)


@pytest.mark.parametrize(("round_up", "length"), [(False, 3), (True, 4)])
def test_ranks_are_equally_long(round_up, length):
    samplers = [EpochIndexSampler(range(11), seed=0, round_up=round_up, rank=r, world_size=3) for r in range(3)]
    orders = [epoch_of(sampler, 0) for sampler in samplers]
    assert [len(sampler) for sampler in samplers] == [len(order) for order in orders] == [length] * 3
    seen = [index for order in orders for _, index in order]
    assert len(set(seen)) == (11 if round_up else 9)


def test_nothing_is_left_out_forever():
    sampler = EpochIndexSampler(range(11), seed=0, rank=0, world_size=3)
    assert {index for epoch in range(40) for _, index in epoch_of(sampler, epoch)} == set(range(11))


@pytest.mark.parametrize("workers", [0, 2])
def test_iteration_loop_advances_the_epoch(workers, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    loader = DataLoader(
        Pairs(10),
        batch_size=4,
        drop_last=True,
        sampler=EpochIndexSampler(Pairs(10), seed=0),
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    iterator = _InfiniteDataloaderIterator(loader)
    epochs = [next(iterator)[:, 0].unique().tolist() for _ in range(6)]
    assert epochs == [[0], [0], [1], [1], [2], [2]]


@pytest.mark.parametrize("done", [0, 1, 2, 3, 7])
def test_iteration_loop_resumes_where_it_stood(done, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)

    def iterator() -> _InfiniteDataloaderIterator:
        sampler = EpochIndexSampler(Pairs(11), seed=0, batch_size=3)
        return _InfiniteDataloaderIterator(DataLoader(Pairs(11), batch_size=3, drop_last=True, sampler=sampler))

    straight = iterator()
    expected = [next(straight).tolist() for _ in range(12)][done:]
    resumed = iterator()
    monkeypatch.setattr(Pairs, "__getitem__", None)
    resumed.skip_iter(done)
    monkeypatch.undo()
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert [next(resumed).tolist() for _ in expected] == expected


def test_skip_exists_only_where_it_is_exact():
    assert not hasattr(EpochIndexSampler(range(10), seed=0), "skip")
    with pytest.raises(ValueError, match="negative"):
        EpochIndexSampler(range(10), seed=0, batch_size=5).skip(-1)


def test_too_few_images_are_refused():
    with pytest.raises(InputError, match=r"7 image\(s\).*batch of 4 on each of 2 ranks \(8 in all\).*to 3 or less"):
        EpochIndexSampler(range(7), seed=0, batch_size=4, rank=0, world_size=2)
    with pytest.raises(InputError, match=r"0 image\(s\)"):
        EpochIndexSampler(range(0), seed=0)
    with pytest.raises(InputError, match=r"7 image\(s\).*batch of 8 .*batch_size to 7 or less"):
        EpochIndexSampler(range(7), seed=0, batch_size=8, rank=0, world_size=1)
    assert len(EpochIndexSampler(range(7), seed=0, batch_size=7, rank=0, world_size=1)) == 7


def test_built_as_the_runner_builds_it():
    from mmengine.runner import Runner

    loader = Runner.build_dataloader(
        {
            "dataset": Pairs(9),
            "batch_size": 2,
            "num_workers": 0,
            "drop_last": True,
            "sampler": {"type": "mmsscl.EpochIndexSampler"},
            "collate_fn": {"type": "default_collate"},
        },
        seed=4,
    )
    assert loader.sampler.seed == 4
    assert next(iter(loader)).shape == (2, 2)
    assert isinstance(DATA_SAMPLERS.build({"type": "EpochIndexSampler", "dataset": range(3)}).seed, int)
