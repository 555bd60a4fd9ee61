"""What the processes of a run do together: sums, copies, a neighbour's image, and agreeing on when to stop or save."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from engine.common.errors import EngineError
from engine.distributed.torchrun import Ranks, open_store

# One process may write betons for hours while the others have theirs; torchrun ends all of them if it dies.
PATIENCE_S = 12 * 3600
# What the messages of a lost connection have in common; torch gives them no type of their own.
LOST = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe", "TCPStore")
# Further than any step.
FAR = 1 << 62

Value = TypeVar("Value")


class PeersLost(EngineError):
    """Another process has ended or does not answer."""


class ProcessGroup:
    """The open process group, seen from process `rank` of `ranks`; the first one, which `leads`, writes and prints."""

    def __init__(self, ranks: Ranks, store):
        self.rank, self.ranks, self.leads, self.store = ranks.rank, ranks.ranks, ranks.rank == 0, store
        self.local_rank, self.local_ranks = ranks.local_rank, ranks.local_ranks

    @property
    def shard(self) -> tuple[int, int]:
        """(rank, ranks), as feeds take it."""
        return self.rank, self.ranks

    def wait_for_all(self, place: str) -> None:
        """Wait until every process has come to `place`, for as long as it takes; needs no device."""
        if self.store.add(f"{place} reached", 1) == self.ranks:
            self.store.set(f"{place} reached by all", "yes")
        self.store.wait([f"{place} reached by all"], timedelta(seconds=PATIENCE_S))

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by its sum over all processes, the same bits in each of them."""
        for tensor in tensors:
            dist.all_reduce(tensor)

    def copy_from_first(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by the first process's, in place."""
        for tensor in tensors:
            # What lies in memory otherwise than row by row (channels_last) goes through a copy that does not.
            straight = tensor.detach().contiguous()
            dist.broadcast(straight, 0)
            tensor.detach().copy_(straight)

    def from_first(self, function: Callable[[], Value]) -> Value:
        """What `function` returns, called in the first process only; an EngineError that it raises is raised in all."""
        answer: list = [None, None]
        if self.leads:
            try:
                answer[0] = function()
            except EngineError as error:
                answer[1] = str(error)
        dist.broadcast_object_list(answer, 0)
        if answer[1] is not None:
            raise EngineError(answer[1])
        return answer[0]

    def gather(self, value: Value) -> list[Value]:
        """Every process's `value`, by rank, in every process."""
        values: list = [None] * self.ranks
        dist.all_gather_object(values, value)
        return values

    def largest(self, number: int) -> int:
        """The largest of the processes' numbers, by way of the hosts."""
        tensor = torch.tensor(int(number))
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor)

    def first_bad(self, step: int) -> int:
        """The smallest of the processes' steps (each at least 0, or -1 for none), -1 where none has one."""
        return unwished(self.largest(wish_for(step)))

    def image_before(self, images_bhwc: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The image uint8 (1, H, W, 3) and the label int64 (1,) that come before this process's block of the batch.

        They are the last of the former process's block, for the first process of the last one's: exactly what a single
        process finds before that place of the whole batch, going round. Nothing waits for the device.
        """
        own = torch.cat([images_bhwc[-1].reshape(-1), labels[-1:].view(torch.uint8)])
        found = own.new_empty(self.ranks * len(own))
        dist.all_gather_into_tensor(found, own)
        # A copy, for the label's eight bytes must lie where a whole number may.
        before = found.view(self.ranks, -1)[self.rank - 1].clone()
        pixels = images_bhwc[-1].numel()
        return before[:pixels].view(1, *images_bhwc.shape[1:]), before[pixels:].clone().view(torch.int64)


def wish_for(step: int) -> int:
    """A step, or -1 for none, as a wish of which the largest is the smallest step."""
    return FAR - step if step >= 0 else 0


def unwished(wish: int) -> int:
    """The step that `wish_for` was given."""
    return FAR - wish if wish else -1


class Agreement:
    """What any of the processes wishes, known to all of them at the same step.

    Whole numbers travel through the hosts alone: they are sent at one step and looked at in the next, so that neither
    a device nor, as a rule, a host waits for them.
    """

    def __init__(self, wishes: int):
        self.wishes, self.sent = wishes, None

    def send(self, *wishes: int) -> None:
        """Send this process's wishes."""
        tensor = torch.tensor(wishes)
        self.sent = tensor, dist.all_reduce(tensor, dist.ReduceOp.MAX, async_op=True)

    def heard(self) -> list[int]:
        """The largest of each wish that was sent, once; zeros where none was."""
        if self.sent is None:
            return [0] * self.wishes
        tensor, work = self.sent
        self.sent = None
        work.wait()
        return tensor.tolist()

    def settle(self, *wishes: int) -> list[int]:
        """The largest of each wish, with those that were sent before, at once: for the end of an epoch."""
        self.send(*map(max, wishes, self.heard()))
        return self.heard()


@contextmanager
def opened(ranks: Ranks, timeout_s: float) -> Iterator[ProcessGroup]:
    """Open the process group: gloo between hosts, NCCL between GPUs, where there are any; it is closed in the end.

    Who waits longer than `timeout_s` for another process, or finds it gone, gets PeersLost.
    """
    try:
        store = open_store(PATIENCE_S)
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", store=store,
                                rank=ranks.rank, world_size=ranks.ranks, timeout=timedelta(seconds=timeout_s))
        yield ProcessGroup(ranks, store)
        dist.destroy_process_group()
    except RuntimeError as error:
        if not is_loss(error):
            raise
        what = f"did not answer for {timeout_s:g} s" if "timed out" in str(error).lower() else "ended"
        raise PeersLost(f"another process of the run {what}, so process {ranks.rank} of {ranks.ranks} ends too: look "
                        "for what came first, and go on with --resume, or let torchrun do so with "
                        "--max-restarts") from None


def is_loss(error: RuntimeError) -> bool:
    """Whether an error comes from talking to other processes."""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in LOST)
