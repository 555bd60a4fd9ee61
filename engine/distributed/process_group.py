"""The process group of a run: sums, copies, a neighbour's image, and agreement on when to stop or save."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from engine.common.errors import EngineError
from engine.distributed.agreement import decode_step, encode_step
from engine.distributed.heartbeat import Heartbeat
from engine.distributed.torchrun import Ranks, open_store, speaks_for_all

# One process may write betons for hours while the others wait: they notice if it dies.
STORE_TIMEOUT_S = 12 * 3600
# A process that lives may compile, or write to slow storage, for so long while the others wait in the middle of a step.
STEP_TIMEOUT_S = 3600
# Words in the messages of a lost connection; torch has no exception type for it.
LOST = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe", "TCPStore")

Value = TypeVar("Value")


class ProcessGroup:
    """The open process group in process `rank` of `ranks`; the first process `leads`: it writes and prints."""

    def __init__(self, ranks: Ranks, store):
        self.rank, self.ranks = self.shard = ranks.rank, ranks.ranks
        self.local_rank, self.local_ranks = ranks.local_rank, ranks.local_ranks
        self.leads, self.store = ranks.rank == 0, store

    def wait_for_all(self, place: str) -> None:
        """Wait, for hours if necessary, until every process has reached `place`; uses no device."""
        if self.store.add(f"{place} reached", 1) == self.ranks:
            self.store.set(f"{place} reached by all", "yes")
        self.store.wait([f"{place} reached by all"], timedelta(seconds=STORE_TIMEOUT_S))

    def sum_in_place(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by its sum over all processes, bit-identical in all of them."""
        for tensor in tensors:
            dist.all_reduce(tensor)

    def copy_from_first(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by the first process's, in place."""
        for tensor in tensors:
            # broadcast needs contiguous memory, which channels_last tensors do not have.
            contiguous = tensor.detach().contiguous()
            dist.broadcast(contiguous, 0)
            tensor.detach().copy_(contiguous)

    def call_in_first(self, function: Callable[[], Value]) -> Value:
        """Call `function` in the first process only; return its result, or raise its EngineError, in all processes."""
        outcome: list = [None, None]
        if self.leads:
            try:
                outcome[0] = function()
            except EngineError as error:
                outcome[1] = str(error)
        dist.broadcast_object_list(outcome, 0)
        result, message = outcome
        if message is not None:
            raise EngineError(message)
        return result

    def gather(self, value: Value) -> list[Value]:
        """The values of all processes, by rank, in every process."""
        values: list = [None] * self.ranks
        dist.all_gather_object(values, value)
        return values

    def largest(self, number: int) -> int:
        """The largest of the processes' numbers; uses no device."""
        tensor = torch.tensor(int(number))
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor)

    def first_bad(self, step: int) -> int:
        """The smallest of the processes' steps, of which -1 stands for none; -1 if no process has one."""
        return decode_step(self.largest(encode_step(step)))

    def image_before(self, images_bhwc: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The image uint8 (1, H, W, 3) and label int64 (1,) just before this process's block of the batch.

        For the first process they are the last of the whole batch. Does not wait for the device.
        """
        own = torch.cat([images_bhwc[-1].reshape(-1), labels[-1:].view(torch.uint8)])
        everyones = own.new_empty(self.ranks * len(own))
        dist.all_gather_into_tensor(everyones, own)
        before = everyones.view(self.ranks, -1)[self.rank - 1].clone()
        pixels = images_bhwc[-1].numel()
        # A copy of the label's eight bytes is aligned, as an int64 must be.
        return before[:pixels].view(1, *images_bhwc.shape[1:]), before[pixels:].clone().view(torch.int64)


@contextmanager
def opened(ranks: Ranks, timeout_s: float) -> Iterator[ProcessGroup]:
    """The open process group (gloo, NCCL); EngineError if another process ends while this one waits for it.

    If one gives no sign of life for `timeout_s` seconds, this process ends at once, with that error and status 2:
    communication that waits for it cannot be left.
    """
    def end_at_once() -> None:
        if speaks_for_all():
            print(f"error: {loss_text(f'gave no sign of life for {timeout_s:g} s', ranks)}", file=sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(2)

    step_timeout_s = max(STEP_TIMEOUT_S, timeout_s)
    try:
        store = open_store(STORE_TIMEOUT_S)
        with Heartbeat(store, ranks, timeout_s, end_at_once):
            dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", store=store,
                                    rank=ranks.rank, world_size=ranks.ranks, timeout=timedelta(seconds=step_timeout_s))
            yield ProcessGroup(ranks, store)
            dist.destroy_process_group()
    except RuntimeError as error:
        if not is_loss(error):
            raise
        what = f"did not respond for {step_timeout_s:g} s" if "timed out" in str(error).lower() else "ended"
        raise EngineError(loss_text(what, ranks)) from None


def loss_text(what: str, ranks: Ranks) -> str:
    """The error of this process, of `ranks`, after another did `what`."""
    return (f"another process of the run {what}, so process {ranks.rank} of {ranks.ranks} ends too: look for the first "
            "error, and continue with --resume, or let torchrun do so with --max-restarts")


def is_loss(error: RuntimeError) -> bool:
    """Whether an error comes from the communication with other processes."""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in LOST)
