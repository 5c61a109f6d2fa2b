"""Ranks of right candidates, against brute force."""
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mmsscl.errors import InputError
from mmsscl.evaluation import region_retrieval
from mmsscl.evaluation.region_retrieval import Ranks, box_overlaps, retrieval_ranks


def unit(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(*shape, generator=generator), dim=-1)


def all_boxes(photos: int, boxes: int) -> tuple[Tensor, Tensor]:
    return torch.ones(photos, boxes, dtype=torch.bool), torch.zeros(photos, boxes, boxes, dtype=torch.bool)


def by_hand(queries: Tensor, candidates: Tensor, valid: Tensor, left_out: Tensor, everywhere: bool) -> list[tuple[int, int]]:
    """Rank, from 1, and number of candidates, query by query."""
    found = []
    photos, boxes = valid.shape
    for n in range(photos):
        for k in range(boxes):
            if not valid[n, k]:
                continue
            right = float(np.dot(queries[n, k], candidates[n, k]))
            others = []
            for m in range(photos) if everywhere else [n]:
                for j in range(boxes):
                    if not valid[m, j] or (m, j) == (n, k) or (m == n and left_out[n, k, j]):
                        continue
                    others.append(float(np.dot(queries[n, k], candidates[m, j])))
            found.append((1 + sum(other > right for other in others), 1 + len(others)))
    return found


@pytest.mark.parametrize("chunk", [1, 2**24])
def test_as_by_hand_with_fillers_and_boxes_left_out(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(region_retrieval, "_MOST_PRODUCTS", chunk)
    queries, candidates = unit(7, 5, 6), unit(7, 5, 6, seed=1)
    candidates = functional.normalize(candidates + 0.6 * queries, dim=-1)
    generator = torch.Generator().manual_seed(2)
    valid = torch.rand(7, 5, generator=generator) > 0.3
    valid[3] = False
    left_out = torch.rand(7, 5, 5, generator=generator) > 0.7
    assert bool((left_out.diagonal(dim1=1, dim2=2) & valid).any())
    for ranks, everywhere in zip(retrieval_ranks(queries, candidates, valid, left_out), (False, True), strict=True):
        wanted = np.array(by_hand(queries, candidates, valid, left_out, everywhere))
        np.testing.assert_array_equal(ranks.above + 1, wanted[:, 0])
        np.testing.assert_array_equal(ranks.candidates, wanted[:, 1])
        assert not ranks.level.any()
        scores = ranks.scores()
        assert scores == pytest.approx(
            dict(top1=(wanted[:, 0] == 1).mean(), top5=(wanted[:, 0] <= 5).mean(), mrr=(1 / wanted[:, 0]).mean())
        )
        assert 0 < scores["top1"] < 1
        chosen = np.arange(len(wanted)) % 3 == 0
        assert ranks.scores(chosen)["mrr"] == pytest.approx((1 / wanted[chosen, 0]).mean())


def test_perfect_features_find_all_and_exchanged_ones_chance() -> None:
    features = unit(40, 8, 64)
    for ranks in retrieval_ranks(features, features, *all_boxes(40, 8)):
        assert ranks.scores() == dict(top1=1.0, top5=1.0, mrr=1.0)
    order = torch.randperm(320, generator=torch.Generator().manual_seed(0))
    exchanged = features.flatten(0, 1)[order].view_as(features)
    within, across = retrieval_ranks(features, exchanged, *all_boxes(40, 8))
    assert within.scores() == pytest.approx(within.guessing().scores(), abs=0.07)
    assert across.scores() == pytest.approx(across.guessing().scores(), abs=0.02)
    assert within.guessing().scores() == pytest.approx(dict(top1=1 / 8, top5=5 / 8, mrr=np.mean(1 / np.arange(1, 9))))
    assert across.guessing().scores()["top5"] == pytest.approx(5 / 320)


def test_features_that_are_all_the_same_score_chance() -> None:
    same = torch.full((6, 4, 3), 3**-0.5)
    # rounding must not decide
    same += torch.linspace(0, 1e-7, same.numel()).view_as(same)
    for ranks in retrieval_ranks(same, same.flip(0), *all_boxes(6, 4)):
        assert ranks.scores() == ranks.guessing().scores()
    nothing = torch.zeros(6, 4, 3)
    assert retrieval_ranks(nothing, nothing, *all_boxes(6, 4))[0].scores()["top1"] == 0.25


@pytest.mark.parametrize(("above", "level", "others"), [(0, 0, 5), (0, 2, 4), (1, 1, 3), (3, 3, 0), (5, 2, 1)])
def test_ties_are_drawn_by_lot(above: int, level: int, others: int) -> None:
    ranks = Ranks(np.array([above]), np.array([level]), np.array([above + level + 1 + others]))
    drawn = [above + 1 + order.index(0) for order in permutations(range(level + 1))]
    assert ranks.scores() == pytest.approx(
        dict(top1=np.mean([rank == 1 for rank in drawn]), top5=np.mean([rank <= 5 for rank in drawn]),
             mrr=np.mean([1 / rank for rank in drawn]))
    )  # fmt: skip


def test_no_query_has_no_score() -> None:
    with pytest.raises(InputError, match="no photo has a box"):
        retrieval_ranks(unit(2, 3, 4), unit(2, 3, 4), ~all_boxes(2, 3)[0], all_boxes(2, 3)[1])
    ranks = Ranks(np.array([0]), np.array([0]), np.array([3]))
    assert np.isnan(list(ranks.scores(np.array([False])).values())).all()


def test_overlaps_of_boxes() -> None:
    boxes = torch.tensor([[[0, 0, 4, 4], [2, 2, 6, 6], [0, 0, 4, 8], [9, 9, 9, 9]]], dtype=torch.float32)
    wanted = [[1, 4 / 28, 0.5, 0], [4 / 28, 1, 8 / 40, 0], [0.5, 8 / 40, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(box_overlaps(boxes)[0], wanted, rtol=1e-6)
