"""Gradients are sent while the backward pass still runs, also in compiled steps; sends and operations are counted."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch.utils._python_dispatch import TorchDispatchMode

from engine.distributed import reducer
from engine.training.executors import build_executor
from engine.training.forward import ForwardPass, ToInput
from engine.training.precision import Precision

CPU = torch.device("cpu")


class Network(nn.Module):
    """Layers of some convolutions each, and a linear head."""

    def __init__(self):
        super().__init__()
        for number in range(3):
            setattr(self, f"layer{number}", nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1), nn.ReLU()))
        self.head = nn.Linear(3 * 36, 5)

    def forward(self, images):
        return self.head(self.layer2(self.layer1(self.layer0(images))).flatten(1))


class Backward(TorchDispatchMode):
    """Notes the operations of an eager backward pass among the sends."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        if operation._schema.name == "aten::convolution_backward":
            self.seen.append("operation")
        return operation(*arguments, **(options or {}))


@pytest.mark.slow("traces the step with torch's compiler")
@pytest.mark.parametrize(("mode", "in_parts", "operations", "overlaps"), [
    ("eager", False, 6, True), ("compile", True, 3, True), ("compile", False, 1, False)])
def test_the_last_gradients_are_sent_before_the_first_are_there(monkeypatch, mode, in_parts, operations, overlaps):
    seen, compile_ = [], torch.compile

    def noting(graph, _):
        """A compiled backward pass is one operation: it hands its gradients out at its end."""
        return make_boxed_func(lambda *arguments: (seen.append("operation"), graph(*arguments))[1])

    backend = aot_autograd(fw_compiler=lambda graph, _: make_boxed_func(graph.forward), bw_compiler=noting)
    monkeypatch.setattr(reducer, "FIRST_BYTES", 64)
    monkeypatch.setattr(reducer, "BUCKET_BYTES", 64)
    monkeypatch.setattr(reducer, "dist", SimpleNamespace(all_reduce=lambda tensor, async_op: (
        seen.append("send"), SimpleNamespace(wait=lambda: None))[1]))
    # The compiler's own code generation changes no order, and takes long.
    monkeypatch.setattr(torch, "compile", lambda function, **options: compile_(function, backend=backend, **options))
    torch.manual_seed(0)
    network = Network()
    forward = ForwardPass(network, ToInput((0.5,) * 3, (0.25,) * 3, CPU), Precision("fp32", CPU))
    executor = build_executor(mode, forward, in_parts)
    batch = torch.randint(0, 256, (4, 6, 6, 3), dtype=torch.uint8), torch.arange(4), None, None, 1.0
    executor(*batch)
    network.zero_grad()
    total = reducer.GradientReducer(list(network.parameters()))
    total.expect()
    seen.clear()
    # What is compiled does not run as such within a mode.
    with Backward(seen) if mode == "eager" else nullcontext():
        executor(*batch)
    assert seen.count("operation") == operations and seen.count("send") > 2
    assert ("operation" in seen[seen.index("send"):]) == overlaps
    total.finish()
    total.close()
