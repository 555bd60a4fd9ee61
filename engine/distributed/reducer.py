"""Adding up the gradients of several processes while the backward pass still runs.

DistributedDataParallel does this too, but it lays its buckets out anew after a process's first step, and where in a
bucket a number lies decides in which order three or more processes' shares of it are rounded: a run that is stopped
and goes on would not have the bits of one that isn't. Here the layout is a function of the parameters alone, and a
compiled step, whose network had better be the bare one, is served by the same few lines.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn

# What is ready first is small, so that sending begins early; the rest in pieces that fill the wire.
FIRST_BYTES, BUCKET_BYTES = 1 << 20, 25 << 20


class Bucket:
    """Some parameters' gradients side by side in one flat tensor, each part in its parameter's memory layout."""

    def __init__(self, parameters: Sequence[nn.Parameter]):
        self.parameters = list(parameters)
        self.flat = torch.zeros(sum(p.numel() for p in parameters), dtype=parameters[0].dtype,
                                device=parameters[0].device)
        self.parts, at = [], 0
        for p in self.parameters:
            self.parts.append(self.flat.as_strided(p.shape, p.stride(), at))
            at += p.numel()
        self.clear()

    def clear(self) -> None:
        """Nothing has arrived and nothing is under way."""
        self.missing, self.work = len(self.parameters), None

    def send(self) -> None:
        """Begin to add the gradients as they are; a missing one counts as zeros."""
        came = [(part, p.grad) for part, p in zip(self.parts, self.parameters, strict=True) if p.grad is not None]
        if len(came) < len(self.parts):
            self.flat.zero_()
        if came:
            torch._foreach_copy_(*(list(side) for side in zip(*came, strict=True)))
        self.work = dist.all_reduce(self.flat, async_op=True)

    def receive(self) -> None:
        """The sums become the gradients, without a copy; a parameter that had none keeps none."""
        self.work.wait()
        for part, p in zip(self.parts, self.parameters, strict=True):
            if p.grad is not None:
                p.grad = part


class GradientReducer:
    """Sums the gradients of `parameters` over all processes, in buckets, from the last parameter to the first.

    A bucket is sent as soon as a backward pass between `expect` and `finish` has filled it and those before it.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]):
        self.buckets = [Bucket(group) for group in grouped(parameters)]
        self.expecting, self.next = False, 0
        self.hooks = [p.register_post_accumulate_grad_hook(lambda _, bucket=bucket: self._arrived(bucket))
                      for bucket in self.buckets for p in bucket.parameters]

    def expect(self) -> None:
        """The backward pass that follows is the last before the update: what it completes may be sent."""
        self.expecting = True

    def _arrived(self, bucket: Bucket) -> None:
        if not self.expecting:
            return
        bucket.missing -= 1
        # In the order of the buckets, which is the same in every process, whatever became complete first.
        while self.next < len(self.buckets) and not self.buckets[self.next].missing:
            self.buckets[self.next].send()
            self.next += 1

    def finish(self) -> None:
        """Send what was not sent yet; afterwards every gradient is the sum. Does not wait for a GPU."""
        for bucket in self.buckets[self.next:]:
            bucket.send()
        for bucket in self.buckets:
            bucket.receive()
            bucket.clear()
        self.expecting, self.next = False, 0

    def close(self) -> None:
        """Let go of the parameters."""
        for hook in self.hooks:
            hook.remove()


def grouped(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """The parameters from the last to the first, in lists of one type, of about FIRST_BYTES and then BUCKET_BYTES."""
    groups: list[list[nn.Parameter]] = []
    size, limit = 0, FIRST_BYTES
    for p in reversed(list(parameters)):
        if not groups or size >= limit or groups[-1][-1].dtype != p.dtype:
            limit = BUCKET_BYTES if groups else FIRST_BYTES
            size = 0
            groups.append([])
        groups[-1].append(p)
        size += p.numel() * p.element_size()
    return groups
