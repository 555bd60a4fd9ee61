"""Reference kernels: for each kind of operation a few calls of different sizes, whose rates stand for all of the kind.

They are chosen by kind, not by recipe: square convolutions of images of 4 to 32 px, products with a weight of 1,024 x
1,024, and tensors from 64 KiB to 64 MiB, all channels_last. As in a step, a call finds its tensors out of the nearest
caches, and writes to memory that the process has, but that was not just in use: calls of one size take turns over many
tensors, and their results are held for a turn.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache

import torch

from benchmarks.modelling.trace import traced

aten = torch.ops.aten
BATCH, CHANNELS, SIDE = 64, 64, 16
# Channels -> side of the images in px; the first layer's three channels become 64.
CONVOLUTIONS = {3: 32, 16: 32, 64: 32, 128: 16, 256: 8, 512: 4}
ROWS, WEIGHT = (8, 128, 1024), 1024
TENSOR_BYTES = (1 << 16, 1 << 20, 1 << 23, 1 << 26)
# Tensors that take turns: this many bytes, as a step moves before it comes back to one, but not more tensors than MOST.
TURN_BYTES, MOST = 1 << 26, 256
Call = Callable[[], object]


class Reference:
    """A kernel at one size. amount: FLOPs of a matrix operation, else bytes, of a call; size: a matrix operation's
    narrow side, else the bytes."""

    def __init__(self, calls: Sequence[Call], narrow: int = 0):
        (operation,) = traced(calls[0])
        self.amount = operation.flops if narrow else operation.bytes
        self.size = narrow or self.amount
        self.calls = calls

    @torch.no_grad()
    def rate(self, seconds: float) -> float:
        """`amount` per second: after one turn whole turns that take at least `seconds`."""
        results = deque((call() for call in self.calls), maxlen=len(self.calls))
        began, turns = time.perf_counter(), 0
        while turns == 0 or time.perf_counter() - began < seconds:
            results.extend(call() for call in self.calls)
            turns += 1
        return turns * len(self.calls) * self.amount / (time.perf_counter() - began)


def references(kind: str, dtype: torch.dtype) -> list[Reference]:
    """The kernels for a kind, sizes rising. A kind without kernels of its own is taken for pointwise."""
    if kind.startswith("convolution"):
        return [Reference(convolutions(channels, dtype, kind.endswith("backward")), channels)
                for channels in CONVOLUTIONS]
    if kind == "product":
        return [Reference(products(rows, dtype), rows) for rows in ROWS]
    make, found = MOVES.get(kind, pointwise), []
    for size in TENSOR_BYTES:
        turns = tensors((max(1, size // (CHANNELS * SIDE * SIDE * dtype.itemsize)), CHANNELS, SIDE, SIDE), dtype)
        found.append(Reference([make(*(turns[index - back] for back in range(3))) for index in range(len(turns))]))
    return found


@cache
def tensors(shape: tuple[int, ...], dtype: torch.dtype) -> list[torch.Tensor]:
    """Tensors that take turns, at least three, normally distributed; four-dimensional ones channels_last."""
    first = torch.randn(shape).to(dtype)
    if len(shape) == 4:
        first = first.contiguous(memory_format=torch.channels_last)
    return [first.clone() for _ in range(max(3, min(MOST, TURN_BYTES // first.nbytes)))]


def convolutions(channels: int, dtype: torch.dtype, backward: bool) -> list[Call]:
    """3 x 3 convolutions, or their backward passes; images get no gradient."""
    side, kept = CONVOLUTIONS[channels], channels if channels > 3 else 64
    weight = tensors((kept, channels, 3, 3), dtype)[0]
    options, wanted = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1), [channels > 3, True, False]
    inputs, gradients = (tensors((BATCH, width, side, side), dtype) for width in (channels, kept))
    if not backward:
        return [lambda x=x: aten.convolution(x, weight, None, *options) for x in inputs]
    return [lambda x=x, gradient=gradient: aten.convolution_backward(gradient, x, weight, None, *options, wanted)
            for x, gradient in zip(inputs, reversed(gradients), strict=False)]


def products(rows: int, dtype: torch.dtype) -> list[Call]:
    inputs, weights = tensors((rows, WEIGHT), dtype), tensors((WEIGHT, WEIGHT), dtype)
    return [lambda x=x, weight=weight: torch.mm(x, weight) for x, weight in zip(inputs, weights, strict=False)]


def pointwise(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> Call:
    return lambda: torch.add(x, y)


def copy(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> Call:
    dtype = torch.bfloat16 if x.dtype == torch.float32 else torch.float32
    return lambda: x.to(dtype)


def norm(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> Call:
    weight, bias, mean, variance = (torch.ones(CHANNELS) for _ in range(4))
    return lambda: torch.native_batch_norm(x, weight, bias, mean, variance, True, 0.1, 1e-5)


def norm_backward(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> Call:
    ones = torch.ones(CHANNELS)
    return lambda: aten.native_batch_norm_backward(y, x, ones, ones, ones, ones, ones, True, 1e-5, [True] * 3)


def pool(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> Call:
    return lambda: aten.max_pool2d_with_indices(x, [2, 2])


def pool_backward(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> Call:
    pooled, indices = aten.max_pool2d_with_indices(x, [2, 2])
    return lambda: aten.max_pool2d_with_indices_backward(pooled, x, [2, 2], [2, 2], [0, 0], [1, 1], False, indices)


def update(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> Call:
    return lambda: torch._fused_sgd_([x], [y], [z], weight_decay=0.0, momentum=0.9, lr=1e-6, dampening=0.0,
                                     nesterov=True, maximize=False, is_first_step=False)


MOVES: dict[str, Callable[..., Call]] = {
    "copy": copy, "norm": norm, "norm backward": norm_backward, "pool": pool, "pool backward": pool_backward,
    "update": update,
    "relu": lambda x, y, z: lambda: x.relu_(),
    "reduction": lambda x, y, z: lambda: x.sum((2, 3)),
    "random": lambda x, y, z: lambda: x.bernoulli_(0.5),
    "gelu": lambda x, y, z: lambda: aten.gelu(x),
    "gelu backward": lambda x, y, z: lambda: aten.gelu_backward(y, x),
    "silu": lambda x, y, z: lambda: aten.silu(x),
    "silu backward": lambda x, y, z: lambda: aten.silu_backward(y, x),
}
