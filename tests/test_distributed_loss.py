"""Two processes give the loss and the gradients of one on the same global batch."""
import socket
from datetime import timedelta

import pytest
import torch
import torch.distributed as distributed
import torch.multiprocessing as multiprocessing
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmsscl.models.heads import RegionPredictHead, WeightedContrastiveHead, WeightedPredictHead
from mmsscl.registry import MODELS
from mmsscl.saliency.batch_weights import batch_crop_weights

VALID = {
    "unequal": torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=torch.bool),
    "one_rank_empty": torch.tensor([[1, 0, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0]], dtype=torch.bool),
    "all_empty": torch.zeros(4, 3, dtype=torch.bool),
}
# Of mean one over the valid pairs of an image, as crop_weights gives them; where nothing is valid any.
WEIGHTS = torch.tensor([[0.5, 1.0, 1.5], [1.75, 0.25, 3.0], [3.0, 1.0, 0.25], [2.0, 2.0, 2.0]])
# One process queues images 0..3 of view 1, then of view 2; two queue both views of images 0, 1, then of 2, 3.
RANK_ORDER = [step + place for step in (0, 8) for place in (0, 1, 4, 5, 2, 3, 6, 7)]
# BYOL takes whole views: which boxes are valid changes nothing there.
ALGORITHMS = [("SCRL", "unequal"), ("SCRL", "one_rank_empty"), ("SCRL", "all_empty"), ("BYOL", "all_empty")]
ALGORITHMS += [("SGCL", "unequal"), ("SGCL", "one_rank_empty")]


class Regions(nn.Module):
    """A projector without BatchNorm, then the head with its norm in eval mode: rows do not see each other."""

    def __init__(self, kind=RegionPredictHead):
        super().__init__()
        torch.manual_seed(0)
        self.projector = nn.Linear(5, 6)
        self.head = kind(6, 8, 6, norm_cfg={"type": "BN"})
        self.head.predictor.norm.eval()

    def forward(self, views, targets, valid, *weights):
        prediction1, prediction2 = (self.head(self.projector(view)) for view in views)
        return self.head.loss(prediction1, prediction2, *targets, valid, *weights)


class Contrast(nn.Module):
    """A projector, then a queue of keys."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.projector = nn.Linear(5, 6)
        self.head = WeightedContrastiveHead(6, 20)

    def forward(self, views, keys, valid, weights):
        return self.head.loss(*(self.projector(view) for view in views), *keys, valid, weights)


def make_batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 4, 3, 5, generator=generator), torch.randn(2, 4, 3, 6, generator=generator)


def compute(model, rows, valid):
    views, targets = make_batch()
    model.zero_grad()
    loss = model(views[:, rows], targets[:, rows], valid[rows])["loss_cosine"]
    loss.backward()
    return loss.detach(), [param.grad.clone() for param in model.parameters()]


def compute_weighted(model, rows, valid):
    views, targets = make_batch()
    model.zero_grad()
    loss = model(views[:, rows], targets[:, rows], valid[rows], WEIGHTS[rows])["loss_cosine"]
    loss.backward()
    return loss.detach(), [param.grad.clone() for param in model.parameters()]


def compute_contrast(model, rows):
    """Two steps, so that the queue of the second holds the keys of the first."""
    views, keys = make_batch()
    for step in range(2):
        model.zero_grad()
        out = model(views[:, rows] + step, (keys[:, rows] - step)[:, :, :1], VALID["unequal"][rows], WEIGHTS[rows])
        out["loss_contrast"].backward()
    head = getattr(model, "module", model).head
    grads = [param.grad.clone() for param in model.parameters()]
    return out["loss_contrast"].detach(), grads, head.queue.clone(), head.pointer


def make_algorithm(kind):
    """A whole algorithm whose norms are all in eval mode: what an image gives does not depend on its neighbours."""
    torch.manual_seed(2)
    norm = {"type": "BN"}
    # A quarter of ResNet-18's width: quick to build.
    backbone = {
        "type": "mmpretrain.ResNet", "depth": 18, "stem_channels": 16, "base_channels": 16, "out_indices": (3,),
        "norm_cfg": norm,
    }
    neck = {"SCRL": "RegionNeck", "BYOL": "GlobalNeck", "SGCL": "GlobalRegionNeck"}[kind]
    head = {"type": "RegionPredictHead", "in_channels": 8, "hidden_channels": 16, "out_channels": 8, "norm_cfg": norm}
    options = {"head": head}
    if kind == "SGCL":
        head = {**head, "type": "WeightedPredictHead"}
        options = {"head": head, "region_head": head, "local_head": head, "regions": "both"}
    model = MODELS.build({
        "type": kind,
        "backbone": backbone,
        "neck": {"type": neck, "in_channels": 128, "hidden_channels": 16, "out_channels": 8, "norm_cfg": norm},
        **options,
    })
    with torch.no_grad():
        # Another network than the online one, and views that are told apart.
        for param in model.target.parameters():
            param.mul_(1 + 0.2 * torch.randn_like(param))
    return model.eval()


def compute_algorithm(model, rows, valid):
    generator = torch.Generator().manual_seed(3)
    views = torch.randn(2, 4, 3, 64, 64, generator=generator)
    low = 40 * torch.rand(4, 2, 3, 2, generator=generator)
    boxes = torch.cat([low, low + 24 * (0.3 + 0.7 * torch.rand(4, 2, 3, 2, generator=generator))], dim=-1)
    model.zero_grad()
    pairs = {
        "boxes": boxes,
        "valid": valid,
        "view_scores": torch.rand(4, 2, generator=generator),
        "box_scores": torch.rand(4, 3, generator=generator),
        "local_scores": torch.rand(4, 2, generator=generator),
        "local_views": torch.randn(4, 2, 3, 32, 32, generator=generator),
        "guidance": torch.tensor([1.0, 0.5, 0.0, 1.0]),
    }
    pairs = {key: value[rows] for key, value in pairs.items()}
    out = model([view[rows] for view in views], pairs, mode="loss")
    loss = sum(value for name, value in out.items() if name.startswith("loss"))
    loss.backward()
    return loss.detach(), {
        name.removeprefix("module."): param.grad.clone()
        for name, param in model.named_parameters() if param.grad is not None
    }


def work(rank, port, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2, timeout=timedelta(seconds=120)
    )
    model = DistributedDataParallel(Regions())
    results = {name: compute(model, slice(2 * rank, 2 * rank + 2), valid) for name, valid in VALID.items()}
    rows = slice(2 * rank, 2 * rank + 2)
    model = DistributedDataParallel(Regions(WeightedPredictHead))
    results["weighted"] = {name: compute_weighted(model, rows, valid) for name, valid in VALID.items()}
    results["contrast"] = compute_contrast(DistributedDataParallel(Contrast()), rows)
    guidance = torch.tensor([1.0, 0.5, 0.0, 1.0])
    results["batch_weights"] = batch_crop_weights(WEIGHTS[rows], VALID["unequal"][rows], guidance[rows])
    for kind, name in ALGORITHMS:
        model = DistributedDataParallel(make_algorithm(kind))
        results[kind, name] = compute_algorithm(model, slice(2 * rank, 2 * rank + 2), VALID[name])
    torch.save(results, f"{folder}/{rank}.pth")
    distributed.destroy_process_group()


def work_as_second(_, port, folder):
    work(1, port, folder)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # This process is rank 0: starting one, with all its imports, is what takes the time.
    threads = torch.get_num_threads()
    second = multiprocessing.spawn(work_as_second, args=(port, str(folder)), nprocs=1, join=False)
    try:
        work(0, port, str(folder))
        second.join()
    finally:
        torch.set_num_threads(threads)
        for process in second.processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pth") for rank in range(2)]


@pytest.mark.parametrize("name", list(VALID))
def test_loss_and_gradients_equal_one_process(two_processes, name):
    loss, grads = compute(Regions(), slice(0, 4), VALID[name])
    torch.testing.assert_close((two_processes[0][name][0] + two_processes[1][name][0]) / 2, loss)
    for rank in range(2):
        for mine, expected in zip(two_processes[rank][name][1], grads):
            torch.testing.assert_close(mine, expected, atol=1e-6, rtol=1e-5)
    if name == "all_empty":
        assert loss == 0
        assert not any(grad.any() for grad in grads)
    else:
        assert all(grad.abs().max() > 1e-4 for grad in grads)


def test_a_mean_of_each_ranks_own_boxes_would_differ(two_processes):
    """The check above can fail: with unequal counts the rank-wise mean is another number."""
    model, valid = Regions(), VALID["unequal"]
    own = [compute(model, slice(2 * rank, 2 * rank + 2), valid)[0] for rank in range(2)]
    loss = compute(model, slice(0, 4), valid)[0]
    assert abs((own[0] + own[1]) / 2 - loss) > 1e-3


@pytest.mark.parametrize("name", list(VALID))
def test_weighted_loss_and_gradients_equal_one_process(two_processes, name):
    loss, grads = compute_weighted(Regions(WeightedPredictHead), slice(0, 4), VALID[name])
    results = [result["weighted"][name] for result in two_processes]
    torch.testing.assert_close((results[0][0] + results[1][0]) / 2, loss)
    for result in results:
        for mine, expected in zip(result[1], grads):
            torch.testing.assert_close(mine, expected, atol=1e-6, rtol=1e-5)
    plain = compute(Regions(), slice(0, 4), VALID[name])[0]
    assert (loss == plain) if name == "all_empty" else (abs(loss - plain) > 1e-3)


def test_queue_holds_the_keys_of_all_processes(two_processes):
    loss, grads, queue, pointer = compute_contrast(Contrast(), slice(0, 4))
    results = [result["contrast"] for result in two_processes]
    torch.testing.assert_close((results[0][0] + results[1][0]) / 2, loss)
    for _, mine, mine_queue, mine_pointer in results:
        assert mine_pointer == pointer == 16
        assert torch.equal(mine_queue, results[0][2])
        # Within a step the keys are ordered by rank here, by view there.
        torch.testing.assert_close(mine_queue[:16][RANK_ORDER], queue[:16])
        torch.testing.assert_close(mine_queue[16:], queue[16:])
        for gradient, expected in zip(mine, grads):
            torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-5)


def test_batch_weights_have_mean_one_over_both_processes(two_processes):
    expected = batch_crop_weights(WEIGHTS, VALID["unequal"], torch.tensor([1.0, 0.5, 0.0, 1.0]))
    torch.testing.assert_close(torch.cat([result["batch_weights"] for result in two_processes]), expected)


def furthest(mine, expected):
    """Largest distance of two networks' gradients, each parameter's relative to its length."""
    assert mine.keys() == expected.keys()
    return max(float((mine[name] - grad).norm() / grad.norm().clamp(min=1e-12)) for name, grad in expected.items())


@pytest.mark.parametrize(("kind", "name"), ALGORITHMS)
def test_whole_algorithms_equal_one_process(two_processes, kind, name):
    model = make_algorithm(kind)
    loss, grads = compute_algorithm(model, slice(0, 4), VALID[name])
    torch.testing.assert_close((two_processes[0][kind, name][0] + two_processes[1][kind, name][0]) / 2, loss)
    assert set(grads) == {key for key, _ in model.named_parameters() if not key.startswith("target.")}
    for rank in range(2):
        assert furthest(two_processes[rank][kind, name][1], grads) < 1e-4
    if kind == "SCRL" and name == "all_empty":
        assert loss == 0
        assert not any(grad.any() for grad in grads.values())
    else:
        assert all(grad.any() for grad in grads.values())


def test_a_rankwise_mean_would_give_other_gradients():
    """The tolerance above can fail: normalising by each rank's own boxes moves the gradients by far more."""
    model, valid = make_algorithm("SCRL"), VALID["unequal"]
    own = [compute_algorithm(model, slice(2 * rank, 2 * rank + 2), valid)[1] for rank in range(2)]
    mean = {name: (own[0][name] + own[1][name]) / 2 for name in own[0]}
    assert furthest(mean, compute_algorithm(model, slice(0, 4), valid)[1]) > 1e-2
