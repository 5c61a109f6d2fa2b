"""Two processes give the loss and the gradients of one on the same global batch."""
import os
import socket

import pytest
import torch
import torch.distributed as distributed
import torch.multiprocessing as multiprocessing
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmsscl.models.heads import RegionPredictHead

VALID = {
    "unequal": torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=torch.bool),
    "one_rank_empty": torch.tensor([[1, 0, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0]], dtype=torch.bool),
    "all_empty": torch.zeros(4, 3, dtype=torch.bool),
}


class Regions(nn.Module):
    """A projector without BatchNorm, then the head with its norm in eval mode: rows do not see each other."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.projector = nn.Linear(5, 6)
        self.head = RegionPredictHead(6, 8, 6, norm_cfg={"type": "BN"})
        self.head.predictor.norm.eval()

    def forward(self, views, targets, valid):
        prediction1, prediction2 = (self.head(self.projector(view)) for view in views)
        return self.head.loss(prediction1, prediction2, *targets, valid)


def make_batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 4, 3, 5, generator=generator), torch.randn(2, 4, 3, 6, generator=generator)


def compute(model, rows, valid):
    views, targets = make_batch()
    model.zero_grad()
    loss = model(views[:, rows], targets[:, rows], valid[rows])["loss_cosine"]
    loss.backward()
    return loss.detach(), [param.grad.clone() for param in model.parameters()]


def work(rank, port, folder):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    model = DistributedDataParallel(Regions())
    results = {name: compute(model, slice(2 * rank, 2 * rank + 2), valid) for name, valid in VALID.items()}
    torch.save(results, f"{folder}/{rank}.pth")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    multiprocessing.spawn(work, args=(port, str(folder)), nprocs=2)
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
