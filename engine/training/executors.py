"""How a step's computation is run: operation by operation, compiled, or compiled and captured as one CUDA graph.

Each program takes a batch on the device and leaves its gradients in the parameters; the optimiser follows as the few
fused launches that it is, its rate and momentum plain numbers. None waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from engine.common.errors import EngineError
from engine.training.forward import Before, Compute
from engine.training.mixing import Mix

MODES = ("eager", "compile", "graph")
# Sizes, last batches, stages and evaluation each have a program of their own; torch gives up at 8.
MOST_COMPILED = 128
WARM_UPS = 3


def resolve(mode: str, device: torch.device, accumulate: int, processes: int = 1, sync_bn: bool = False) -> str:
    """`auto` -> graph on a GPU (compile where batches are accumulated), eager on a CPU; EngineError for what can't be.

    Several processes' step is not captured, and with `sync_bn`, where the network itself talks to the others, it is
    eager.

    On a CPU a compiled step measured no faster for convolutional networks and takes most of a minute to make.
    """
    if sync_bn and mode not in ("auto", "eager"):
        raise EngineError(f"train.step={mode} cannot hold train.sync_bn's talk between processes: choose eager")
    if mode == "graph" and processes > 1:
        raise EngineError(f"train.step=graph is for a lone process, and there are {processes}: choose compile, eager "
                          "or auto")
    if mode == "auto":
        if device.type == "cpu" or sync_bn:
            return "eager"
        return "graph" if accumulate == processes == 1 else "compile"
    if mode == "graph" and device.type != "cuda":
        raise EngineError(f"train.step=graph needs a GPU, the device is {device}: choose eager, compile or auto")
    if mode == "graph" and accumulate > 1:
        raise EngineError(f"train.step=graph needs train.accumulate=1, not {accumulate}: choose compile, or larger "
                          "batches")
    return mode


def build_executor(mode: str, compute: Compute) -> Eager | Compiled | Captured:
    """The program of a resolved mode."""
    return {"eager": Eager, "compile": Compiled, "graph": Captured}[mode](compute)


def compiled(function: Callable) -> Callable:
    """`function` by torch.compile, a program for each shape; where the compiler fails, an EngineError of one line."""
    torch._dynamo.config.recompile_limit = MOST_COMPILED
    inner = torch.compile(function, dynamic=False)

    def call(*arguments):
        try:
            return inner(*arguments)
        except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError) as error:
            reason = str(error).strip().splitlines()[0][:200]
            raise EngineError(f"train.step: torch.compile failed ({reason}); choose --train.step=eager, and see that a "
                              "C++ compiler is installed") from None

    return call


class Eager:
    """One operation after the other."""

    def __init__(self, compute: Compute):
        self.compute = compute

    def begin(self) -> None:
        """A stage begins: nothing to be made anew."""

    def __call__(self, images_bhwc: torch.Tensor, labels: torch.Tensor, size_px: int | None, mix: Mix | None,
                 share: float, before: Before = None) -> torch.Tensor:
        """Add the gradients of share * loss to the parameters'; returns what Compute counted, float64 (3,).

        `before` as Compute takes it; with any but this program it is given for every batch or for none.
        """
        loss, counts = self.compute.by_operations(images_bhwc, labels, size_px, mix, before)
        self.compute.precision.backward(loss * share if share != 1 else loss)
        return counts


class Compiled:
    """Forward and backward as fused kernels; each combination of batch size, image size and what trains once."""

    def __init__(self, compute: Compute):
        self.compute, self.function = compute, compiled(compute.by_tensors)

    def begin(self) -> None:
        """A stage begins: torch notices what changed by itself."""

    def __call__(self, images_bhwc: torch.Tensor, labels: torch.Tensor, size_px: int | None, mix: Mix | None,
                 share: float, before: Before = None) -> torch.Tensor:
        """As Eager's."""
        loss, counts = self.function(images_bhwc, labels, size_px, self.compute.row_of(mix), before)
        self.compute.precision.backward(loss * share if share != 1 else loss)
        return counts


class Captured:
    """The compiled step's launches recorded once for each shape, then replayed as one."""

    def __init__(self, compute: Compute):
        self.compute, self.function = compute, compiled(compute.by_tensors)
        self.begin()

    def begin(self) -> None:
        """A stage begins: what was recorded trains other parameters."""
        self.graphs: dict[tuple, Graph] = {}
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, images_bhwc: torch.Tensor, labels: torch.Tensor, size_px: int | None, mix: Mix | None,
                 share: float, before: Before = None) -> torch.Tensor:
        """As Eager's, the gradients replaced instead of added to; `share` is 1 and `before` None.

        The counts hold until the next call.
        """
        inputs, key = (images_bhwc, labels, self.compute.row_of(mix)), (len(images_bhwc), size_px)
        if key not in self.graphs:
            self.graphs[key] = Graph(lambda images, labels, row: self.function(images, labels, size_px, row),
                                     self.compute, inputs, self.pool)
        return self.graphs[key].replay(inputs)


class Graph:
    """One recorded step: inputs are copied to where it reads them, gradients and counts lie where it wrote them."""

    def __init__(self, function: Callable, compute: Compute, inputs: tuple, pool):
        self.inputs = [None if tensor is None else tensor.clone() for tensor in inputs]
        self.parameters = [p for p in compute.model.parameters() if p.requires_grad]
        self._warm_up(function, compute)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool):
            loss, self.counts = function(*self.inputs)
            compute.precision.backward(loss)
        self.gradients = [p.grad for p in self.parameters]

    def _warm_up(self, function: Callable, compute: Compute) -> None:
        # Compiling and tuning must be over before recording; the runs must not leave traces in statistics or draws.
        buffers = list(compute.model.buffers())
        kept, random = [buffer.clone() for buffer in buffers], torch.cuda.get_rng_state()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                loss, _ = function(*self.inputs)
                compute.precision.backward(loss)
                self._clear()
        torch.cuda.current_stream().wait_stream(side)
        for buffer, value in zip(buffers, kept, strict=True):
            buffer.copy_(value)
        torch.cuda.set_rng_state(random)

    def _clear(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def replay(self, inputs: tuple) -> torch.Tensor:
        """Run on new inputs; returns the counts."""
        for static, tensor in zip(self.inputs, inputs, strict=True):
            if static is not None:
                static.copy_(tensor, non_blocking=True)
        self.graph.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        return self.counts
