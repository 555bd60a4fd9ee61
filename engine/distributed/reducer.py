"""Sums the gradients of several processes while the backward pass still runs.

DistributedDataParallel does this too, but it rebuilds its buckets after a process's first step, and the position in a
bucket decides the order in which three or more addends are rounded: a resumed run would differ in its last bits. Here
the layout depends on the parameters alone, and the network is not wrapped, which suits compiled steps.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.distributed as dist
from torch import nn

# A small first bucket, so that sending starts early; then buckets large enough for the network's full bandwidth.
FIRST_BYTES, BUCKET_BYTES = 1 << 20, 25 << 20


class Bucket:
    """The gradients of `parameters` in one flat tensor, each part in its parameter's memory layout."""

    def __init__(self, parameters: list[nn.Parameter]):
        self.parameters, self.missing = parameters, len(parameters)
        offsets = [0, *accumulate(p.numel() for p in parameters)]
        self.flat = torch.zeros(offsets[-1], dtype=parameters[0].dtype, device=parameters[0].device)
        self.parts = [self.flat.as_strided(p.shape, p.stride(), offset)
                      for p, offset in zip(parameters, offsets, strict=False)]

    def send(self) -> None:
        """Start to sum the gradients; a missing one counts as zeros."""
        parts = [part for part, p in zip(self.parts, self.parameters, strict=True) if p.grad is not None]
        if len(parts) < len(self.parts):
            self.flat.zero_()
        if parts:
            torch._foreach_copy_(parts, [p.grad for p in self.parameters if p.grad is not None])
        self.work = dist.all_reduce(self.flat, async_op=True)

    def receive(self) -> None:
        """Make the sums the gradients, without a copy; a parameter without a gradient keeps none."""
        self.work.wait()
        self.missing = len(self.parameters)
        for part, p in zip(self.parts, self.parameters, strict=True):
            if p.grad is not None:
                p.grad = part


class GradientReducer:
    """Sums the gradients of `parameters` over all processes, in buckets, from the last parameter to the first.

    A bucket is sent when a backward pass between `expect` and `finish` has filled it and all buckets before it.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]):
        self.buckets = [Bucket(group) for group in grouped(parameters)]
        self.expecting, self.next = False, 0
        self.hooks = [p.register_post_accumulate_grad_hook(lambda _, bucket=bucket: self._arrived(bucket))
                      for bucket in self.buckets for p in bucket.parameters]

    def expect(self) -> None:
        """Call before the last backward pass of an update: buckets that it fills are sent."""
        self.expecting = True

    def _arrived(self, bucket: Bucket) -> None:
        if not self.expecting:
            return
        bucket.missing -= 1
        # In the buckets' order, which is the same in every process.
        while self.next < len(self.buckets) and not self.buckets[self.next].missing:
            self.buckets[self.next].send()
            self.next += 1

    def finish(self) -> None:
        """Send the remaining buckets; afterwards every gradient is the sum. Does not wait for a GPU."""
        for bucket in self.buckets[self.next:]:
            bucket.send()
        for bucket in self.buckets:
            bucket.receive()
        self.expecting, self.next = False, 0

    def close(self) -> None:
        for hook in self.hooks:
            hook.remove()


def grouped(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """The parameters from last to first, in groups of one dtype and of about FIRST_BYTES, then BUCKET_BYTES each."""
    groups: list[list[nn.Parameter]] = []
    size = 0
    for p in reversed(parameters):
        limit = FIRST_BYTES if len(groups) < 2 else BUCKET_BYTES
        if not groups or size >= limit or groups[-1][-1].dtype != p.dtype:
            size = 0
            groups.append([])
        groups[-1].append(p)
        size += p.numel() * p.element_size()
    return groups
