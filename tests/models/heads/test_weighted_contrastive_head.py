import copy

import pytest
import torch
import torch.nn.functional as functional
from mmengine.runner.checkpoint import load_state_dict as mmengine_load
from torch import Tensor

from mmsscl.errors import InputError
from mmsscl.models.heads import WeightedContrastiveHead


def make_head(size=10, **options):
    return WeightedContrastiveHead(4, size, **options).train()


def keys(start, count):
    """Unit vectors that are told apart by their number."""
    angle = torch.arange(start, start + count) * 0.1
    return torch.stack([angle.cos(), angle.sin(), torch.zeros(count), torch.zeros(count)], dim=1)


def sides(images=3, pairs=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    queries = [torch.randn(images, pairs, 4, generator=generator, requires_grad=True) for _ in range(2)]
    return *queries, *(torch.randn(images, 1, 4, generator=generator) for _ in range(2))


def cross_entropy(query, key, queue, temperature):
    """Over explicit logits, one row of them a query, the key first."""
    unit_query, unit_key = functional.normalize(query, dim=-1), functional.normalize(key, dim=-1)
    logits = torch.cat([(unit_query * unit_key).sum(-1, keepdim=True), unit_query @ queue.t()], dim=-1) / temperature
    rows = functional.cross_entropy(logits.flatten(0, 1), torch.zeros(logits[..., 0].numel()).long(), reduction="none")
    return rows.reshape(logits.shape[:2])


@pytest.mark.parametrize("pairs", [1, 3])
def test_loss_and_gradients_equal_cross_entropy(pairs):
    head = make_head(temperature=0.3)
    queue = head.queue.clone()
    q1, q2, k1, k2 = sides(pairs=pairs)
    valid = torch.ones(3, pairs, dtype=torch.bool)
    valid[1] = False
    weights = torch.rand(2, 3, pairs) * 2
    expected = (weights[0] * cross_entropy(q1, k2, queue, 0.3))[valid].sum()
    expected = (expected + (weights[1] * cross_entropy(q2, k1, queue, 0.3))[valid].sum()) / valid.sum()
    loss = head.loss(q1, q2, k1, k2, valid, weights)["loss_contrast"]
    torch.testing.assert_close(loss, expected)
    # The queue has changed since the forward pass; the gradient must be that of the queue of then.
    assert not torch.equal(head.queue, queue)
    for mine, other in zip(torch.autograd.grad(loss, (q1, q2)), torch.autograd.grad(expected, (q1, q2))):
        torch.testing.assert_close(mine, other)


def test_the_batchs_own_keys_are_no_negatives_but_those_of_the_next_batch():
    head = make_head(size=4)
    q1, q2, k1, k2 = sides(images=2)
    valid = torch.ones(2, 1, dtype=torch.bool)
    head.loss(q1, q2, k1, k2, valid)
    stored = functional.normalize(torch.cat([k1, k2]).squeeze(1), dim=-1)
    torch.testing.assert_close(head.queue, stored)
    q1, q2, k1, k2 = sides(images=2, seed=1)
    expected = cross_entropy(q1, k2, stored, 0.2).mean() + cross_entropy(q2, k1, stored, 0.2).mean()
    torch.testing.assert_close(head.loss(q1, q2, k1, k2, valid)["loss_contrast"], expected)


@pytest.mark.parametrize("batch", [1, 3, 5, 10])
def test_queue_is_filled_in_order_and_wraps_for_any_batch(batch):
    head = make_head()
    reference = list(head.queue.clone())
    place = 0
    for step in range(7):
        new = keys(batch * step, batch)
        head.enqueue(2.5 * new)
        for key in new:
            reference[place % 10] = key
            place += 1
        torch.testing.assert_close(head.queue, torch.stack(reference))
        assert head.pointer == int(head.queue_pointer) == place % 10


def test_of_a_batch_larger_than_the_queue_the_last_keys_stay():
    head = make_head(size=4)
    head.enqueue(keys(0, 1))
    head.enqueue(keys(1, 11))
    torch.testing.assert_close(head.queue.roll(-head.pointer, 0), keys(8, 4))


def test_queue_starts_as_unit_vectors_and_draws_nothing_from_the_global_generator():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = make_head(64), make_head(64)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.queue, second.queue)
    torch.testing.assert_close(first.queue.norm(dim=1), torch.ones(64))
    assert (first.queue @ first.queue.t() - torch.eye(64)).abs().max() < 1 - 1e-4
    assert list(first.parameters()) == []


@pytest.mark.parametrize("load", [lambda head, state: head.load_state_dict(state), mmengine_load])
def test_checkpoint_holds_queue_and_place(load, tmp_path):
    head = make_head()
    head.enqueue(keys(0, 7))
    torch.save(head.state_dict(), tmp_path / "head.pth")
    restored = make_head()
    load(restored, torch.load(tmp_path / "head.pth", weights_only=True))
    for instance in (head, restored, copy.deepcopy(head)):
        instance.enqueue(keys(7, 5))
        torch.testing.assert_close(instance.queue, torch.cat([keys(10, 2), keys(2, 8)]))
        assert instance.pointer == 2


def test_a_place_outside_the_queue_is_refused():
    state = make_head().state_dict()
    state["queue_pointer"] = torch.tensor(10)
    with pytest.raises(InputError, match=r"queue_pointer=10 .* queue of 10 keys"):
        make_head().load_state_dict(state)


def test_a_queue_of_another_size_is_refused_by_a_loader_that_is_not_strict_too():
    state = make_head().state_dict()
    state["queue"] = state["queue"][:6]
    head = make_head()
    for load in (head.load_state_dict, lambda state: mmengine_load(head, state, strict=False)):
        with pytest.raises(InputError, match=r"queue in the checkpoint holds \(6, .*here \(10, .*Set queue_size"):
            load(state)


def test_nothing_is_enqueued_in_eval_mode():
    head = make_head().eval()
    before = head.queue.clone()
    head.loss(*sides(), torch.ones(3, 1, dtype=torch.bool))
    assert torch.equal(head.queue, before)
    assert head.pointer == 0


def test_keys_are_stored_in_float32_under_autocast():
    expected, head = make_head(), make_head()
    valid = torch.ones(3, 1, dtype=torch.bool)
    loss = expected.loss(*sides(), valid)["loss_contrast"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = head.loss(*sides(), valid)["loss_contrast"]
    assert torch.equal(out, loss)
    assert head.queue.dtype == torch.float32
    assert torch.equal(head.queue, expected.queue)


def test_figures():
    head = make_head()
    head.enqueue(keys(0, 10))
    # Two queries at their keys, one at a key of the queue and away from its own.
    own = torch.tensor([[0.0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 1, 0]])[:, None]
    query = own.clone()
    query[2, 0] = keys(3, 1)
    out = head.loss(query, query, own, own, torch.ones(3, 1, dtype=torch.bool))
    assert float(out["contrast_accuracy"]) == pytest.approx(2 / 3)
    assert float(out["positive_cosine"]) == pytest.approx(2 / 3)
    assert [name for name in out if "loss" in name] == ["loss_contrast"]
    assert {"projection_std", "boxes_per_image"} < set(out)


def test_training_step_reads_no_tensor(monkeypatch):
    head = make_head()

    def forbid(*_, **__):
        raise AssertionError("a tensor is read")

    vectors, valid = sides(), torch.ones(3, 1, dtype=torch.bool)
    for name in ("item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__float__", "__int__", "__index__"):
        monkeypatch.setattr(Tensor, name, forbid)
    for _ in range(3):
        head.loss(*vectors, valid, torch.ones(3, 1))["loss_contrast"].backward(retain_graph=True)
    with pytest.raises(AssertionError, match="read"):
        int(head.queue_pointer)
    assert head.pointer == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels=0"),
        ({"queue_size": 0}, "queue_size=0"),
        ({"temperature": 0}, "temperature=0"),
    ],
)
def test_bad_settings_are_named(options, message):
    with pytest.raises(InputError, match=message):
        WeightedContrastiveHead(**options)


def test_bad_keys_are_named():
    q1, q2, k1, _ = sides(pairs=2)
    with pytest.raises(InputError, match=r"expected \(3, 1, 4\): one vector an image"):
        make_head().loss(q1, q2, q1.detach(), q2.detach(), torch.ones(3, 2, dtype=torch.bool))
    with pytest.raises(InputError, match=r"expected \(3, 1, 4\)"):
        make_head().loss(q1, q2, k1[..., :3], k1[..., :3], torch.ones(3, 2, dtype=torch.bool))
