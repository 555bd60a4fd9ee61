"""Three processes use a process group and check what they get; run by test_process_group.py.

They are forked before torch has any threads; a failed check ends a process with a status other than 0.
"""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from peers import fork  # noqa: E402

from engine.cli.parser import run_command  # noqa: E402
from engine.common.errors import EngineError  # noqa: E402
from engine.distributed.agreement import Agreement  # noqa: E402
from engine.distributed.reducer import GradientReducer  # noqa: E402
from engine.session import launch  # noqa: E402
from loaders.feeds.shards import block  # noqa: E402

RANKS, TIMEOUT_S = 3, 2.5


def sums_and_copies(process_group):
    tensors = [torch.tensor(process_group.rank + 1.0, dtype=torch.float64), torch.full((2, 2), process_group.rank)]
    process_group.sum_in_place(tensors)
    assert tensors[0] == 6 and tensors[1].tolist() == [[3, 3], [3, 3]]
    weights = torch.arange(48.0).view(2, 2, 3, 4).to(memory_format=torch.channels_last) + 100 * process_group.rank
    parameter = nn.Parameter(weights.clone(memory_format=torch.preserve_format))
    process_group.copy_from_first([parameter])
    assert torch.equal(parameter.detach(), torch.arange(48.0).view(2, 2, 3, 4))
    assert parameter.is_contiguous(memory_format=torch.channels_last)
    assert process_group.gather({"rank": process_group.rank}) == [{"rank": rank} for rank in range(RANKS)]
    assert process_group.largest(process_group.rank) == 2
    assert process_group.first_bad(-1) == -1
    assert process_group.first_bad([-1, 7, 4][process_group.rank]) == 4
    assert process_group.first_bad([0, -1, -1][process_group.rank]) == 0


def once(process_group):
    assert launch.once(process_group, lambda: process_group.rank) == 0

    def refuse():
        raise EngineError("no: say yes")

    try:
        launch.once(process_group, refuse)
    except EngineError as error:
        assert str(error) == "no: say yes"
    else:
        raise AssertionError("the error of the first process did not reach this one")


def image_before(process_group):
    images = torch.arange(7 * 2 * 3 * 3, dtype=torch.uint8).view(7, 2, 3, 3)
    labels = torch.arange(7) + (1 << 40)
    first, stop = block(7, *process_group.shard)
    image, label = process_group.image_before(images[first:stop], labels[first:stop])
    assert torch.equal(image, images[first - 1][None]) and torch.equal(label, labels[first - 1][None])


def agreement(process_group):
    agreed = Agreement(2)
    assert agreed.take() == [0, 0]
    agreed.send(process_group.rank, 0)
    assert agreed.take() == [2, 0]
    assert agreed.take() == [0, 0]
    agreed.send(0, 5 * (process_group.rank == 1))
    assert agreed.maximum_now(int(process_group.rank == 0), 0) == [1, 5]


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5), nn.Linear(5, 2))


def gradient_sums(process_group):
    """Two backward passes, the second expected; parameters without a gradient keep none."""
    images, model, whole = torch.rand(8, 3, 8, 8), network(), network()
    images = process_group.gather(images)[0]
    frozen = [model[3].weight, whole[3].weight]
    for parameter in frozen:
        parameter.requires_grad_(False)
    idle = nn.Parameter(torch.ones(3))
    trained = [p for p in model.parameters() if p.requires_grad] + [idle]
    first, stop = block(8, *process_group.shard)
    for _ in range(2):
        total = GradientReducer(trained)
        for half in (images, images.flip(3)):
            whole(half).square().mean().backward()
        model(images[first:stop]).square().mean().mul((stop - first) / 8).backward()
        total.expect()
        model(images[first:stop].flip(3)).square().mean().mul((stop - first) / 8).backward()
        # Every gradient has arrived but the idle one's, for which the bucket waits.
        assert total.next == 0 and total.buckets[0].missing == 1
        total.finish()
        for own, reference in zip(model.parameters(), whole.parameters(), strict=True):
            if reference.requires_grad:
                torch.testing.assert_close(own.grad, reference.grad)
            else:
                assert own.grad is None
        assert idle.grad is None
        total.close()
        model.zero_grad()
        whole.zero_grad()


def checks(process_group):
    torch.set_num_threads(1)
    for check in (sums_and_copies, once, image_before, agreement, gradient_sums):
        check(process_group)
    return 0


def waits(what, place):
    """A check in which the last process does `what` while the others wait for it, in a sum or at the data."""
    def check(process_group):
        leader = process_group.gather(os.getpid())[0]
        if process_group.rank == RANKS - 1:
            what(leader)
        if place == "data":
            process_group.wait_for_all("the data")
        process_group.sum_in_place([torch.ones(3)])
        return 0

    return check


def be_slow(leader):
    """Compute for longer than the time-out."""
    until = time.monotonic() + 1.5 * TIMEOUT_S
    while time.monotonic() < until:
        torch.rand(100).sum()


def be_killed(leader):
    os.kill(os.getpid(), signal.SIGKILL)


def be_stopped(leader):
    """Stop, as a process does whose machine is cut off: no connection closes. Once `leader` has ended, end."""
    stopped = os.getpid()
    if os.fork() == 0:
        while Path(f"/proc/{leader}").exists():
            time.sleep(0.02)
        os.kill(stopped, signal.SIGKILL)
        os._exit(0)
    os.kill(stopped, signal.SIGSTOP)


def act(check, timeout_s):
    run_command(lambda: launch.run(check, timeout_s))


if __name__ == "__main__":
    print(fork(RANKS, partial(act, checks, 30)))
    for what, place in ((be_slow, "sum"), (be_killed, "sum"), (be_killed, "data"), (be_stopped, "sum")):
        print(what.__name__, place, fork(RANKS, partial(act, waits(what, place), TIMEOUT_S)), flush=True)
