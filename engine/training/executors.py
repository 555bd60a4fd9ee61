"""Ways to run a step's forward and backward pass: operation by operation, compiled, or as one captured CUDA graph.

An executor takes a batch on the device, leaves its gradients in the parameters and returns the counts. The eager one
is the ForwardPass itself. None waits for the device; the optimiser follows in a few fused launches. Where nothing has
to be known on the host between backward pass and update, `whole_step.WholeStep` captures both.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from engine.common.errors import EngineError
from engine.training import recording
from engine.training.forward import Before, ForwardPass
from engine.training.mixing import Mix

MODES = ("eager", "compile", "graph")
# Each size, last batch and stage, and evaluation, compiles a program of its own; torch's own limit is 8.
MOST_COMPILED = 128


def resolve(mode: str, device: torch.device, accumulate: int, processes: int = 1, sync_bn: bool = False) -> str:
    """`auto` -> eager on a CPU; on a GPU graph, or compile where batches are accumulated or processes are several.

    A graph holds one whole update of one process. With `sync_bn` the network itself talks to other processes, which
    only the eager step can. On a CPU a compiled step of a convolutional network measured no faster and takes most of a
    minute to compile. Raises EngineError for a mode that cannot work.
    """
    if sync_bn and mode not in ("auto", "eager"):
        raise EngineError(f"train.step={mode} cannot hold the communication of train.sync_bn: choose eager")
    if mode == "graph" and processes > 1:
        raise EngineError(f"train.step=graph is for a single process, and there are {processes}: choose compile, "
                          "eager or auto")
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


def only_passes(precision: str, skip_bad: bool) -> str:
    """Why a graph holds no more than the forward and backward pass; "" where it holds the whole step."""
    if precision == "fp16":
        return "fp16's loss scaler waits for the gradients"
    return "train.on_nan=skip waits for the loss" if skip_bad else ""


def build_executor(mode: str, forward: ForwardPass, in_parts: bool = False) -> ForwardPass | Compiled | Captured:
    """The executor of a resolved mode; in_parts: as for Compiled, where that is the mode."""
    if mode == "compile":
        return Compiled(forward, in_parts)
    return forward if mode == "eager" else Captured(forward)


def compiled(function: Callable) -> Callable:
    """`function` by torch.compile, once per shape; where the compiler fails, an EngineError of one line."""
    torch._dynamo.config.recompile_limit = MOST_COMPILED
    return told(torch.compile(function, dynamic=False))


def told(inner: Callable) -> Callable:
    """`inner`, which runs compiled code; where the compiler fails, an EngineError of one line."""
    def call(*arguments):
        try:
            return inner(*arguments)
        except Exception as error:
            # Torch imports its compiler late.
            from torch._dynamo.exc import TorchDynamoException
            from torch._inductor.exc import InductorError

            if not isinstance(error, TorchDynamoException | InductorError):
                raise
            reason = str(error).strip().splitlines()[0][:200]
            raise EngineError(f"train.step: torch.compile failed ({reason}); choose --train.step=eager, and see that a "
                              "C++ compiler is installed") from None

    return call


class Compiled:
    """Forward and backward as fused kernels, compiled once per batch size, image size and set of trained parameters.

    in_parts: only the network's larger children are compiled, each by itself. A compiled backward pass hands out its
    gradients at its end; in parts, several processes sum those of the last layers while the first are still at work.
    """

    def __init__(self, forward: ForwardPass, in_parts: bool = False):
        self.forward, self.loss = forward, told(forward.loss) if in_parts else compiled(forward.loss)
        for part in forward.model.children() if in_parts else ():
            if any(part.children()):
                torch._dynamo.config.recompile_limit = MOST_COMPILED
                part.compile(dynamic=False)

    def start_stage(self) -> None:
        """Torch itself notices which parameters train."""

    def __call__(self, images_bhwc: torch.Tensor, labels: torch.Tensor, size_px: int | None, mix: Mix | None,
                 share: float, before: Before = None) -> torch.Tensor:
        """As ForwardPass; `before` is given for every batch or for none."""
        loss, counts = self.loss(images_bhwc, labels, size_px, self.forward.row_of(mix), before)
        self.forward.backward(loss, share)
        return counts


class Captured:
    """The compiled step's launches, recorded once per shape and replayed as one."""

    def __init__(self, forward: ForwardPass):
        self.forward, self.loss, self.stages = forward, compiled(forward.loss), 0
        self.start_stage()

    def start_stage(self) -> None:
        """Drop the recordings: they train the parameters of the stage before."""
        self.stages += 1
        self.graphs: dict[tuple, Graph] = {}
        self.pool = recording.new_pool()

    def __call__(self, images_bhwc: torch.Tensor, labels: torch.Tensor, size_px: int | None, mix: Mix | None,
                 share: float, before: Before = None) -> torch.Tensor:
        """As ForwardPass, with `share` 1 and `before` None; gradients are replaced instead of added to.

        The counts hold until the next call.
        """
        inputs, key = (images_bhwc, labels, self.forward.row_of(mix)), (len(images_bhwc), size_px)
        if key not in self.graphs:
            self.graphs[key] = Graph(lambda images, labels, row: self.loss(images, labels, size_px, row),
                                     self.forward, inputs, self.pool)
        return self.graphs[key].replay(inputs)


class Graph:
    """One recorded pass: inputs are copied to where it reads them, gradients and counts lie where it wrote them."""

    def __init__(self, function: Callable, forward: ForwardPass, inputs: tuple, pool):
        self.function, self.forward = function, forward
        self.inputs = [None if tensor is None else tensor.clone() for tensor in inputs]
        self.parameters = [p for p in forward.model.parameters() if p.requires_grad]
        buffers = list(forward.model.buffers())
        kept = [buffer.clone() for buffer in buffers]
        recording.warm_up(self._pass, forward.to_input.device)
        for buffer, value in zip(buffers, kept, strict=True):
            buffer.copy_(value)
        self.graph = recording.record(self._pass, pool)
        self.gradients = [p.grad for p in self.parameters]

    def _pass(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None
        loss, self.counts = self.function(*self.inputs)
        self.forward.backward(loss, 1)

    def replay(self, inputs: tuple) -> torch.Tensor:
        """Run on new inputs; returns the counts."""
        for static, tensor in zip(self.inputs, inputs, strict=True):
            if static is not None:
                static.copy_(tensor, non_blocking=True)
        self.graph.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        return self.counts
