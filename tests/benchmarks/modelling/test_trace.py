"""FLOPs and bytes of traced operations, against sums done by hand."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.modelling.trace import Tracer, traced

BF16, FP32 = torch.bfloat16, torch.float32


@pytest.fixture(autouse=True)
def fake():
    with FakeTensorMode():
        yield


def only(call):
    (operation,) = traced(call)
    return operation


def test_a_product():
    a, b = torch.empty(8, 20, dtype=BF16), torch.empty(20, 6, dtype=BF16)
    found = only(lambda: a @ b)
    assert (found.kind, found.dtype, found.narrow) == ("product", BF16, 6)
    assert found.flops == 2 * 8 * 20 * 6
    assert found.bytes == 2 * (8 * 20 + 20 * 6 + 8 * 6)


def test_a_net_of_two_layers_forward_and_backward():
    """4 images of 3 channels and 8 x 8 px, 16 kernels of 3 x 3, then 10 classes from 16 x 8 x 8 values."""
    convolution, linear = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.Linear(1024, 10, bias=False)
    images = torch.empty(4, 3, 8, 8)
    found = traced(lambda: linear(convolution(images).relu().flatten(1)).sum().backward())
    layer1, layer2 = 2 * 4 * 64 * 16 * 27, 2 * 4 * 1024 * 10
    flops = {kind: sum(each.flops for each in found if each.kind == kind) for kind in {each.kind for each in found}}
    # The images get no gradient; the weights of the second layer and its input do.
    assert flops["convolution"] == layer1 and flops["convolution backward"] == layer1
    assert flops["product"] == 3 * layer2
    forward = next(each for each in found if each.kind == "convolution")
    assert forward.bytes == 4 * (4 * 3 * 64 + 16 * 27 + 4 * 16 * 64) and forward.narrow == 3
    backward = next(each for each in found if each.kind == "convolution backward")
    assert backward.bytes == 4 * (4 * 16 * 64 + 4 * 3 * 64 + 16 * 27 + 16 * 27) and backward.kernels == 1


def test_a_convolution_with_both_gradients_reads_the_incoming_one_for_each():
    x, weight = (torch.empty(shape, requires_grad=True) for shape in ((2, 8, 4, 4), (8, 8, 3, 3)))
    found = traced(lambda: torch.conv2d(x, weight, padding=1).sum().backward())
    (backward,) = [each for each in found if each.kind == "convolution backward"]
    images, kernels = 4 * 2 * 8 * 16, 4 * 8 * 8 * 9
    # Both factors are read, and both gradients written; the gradient that comes in repeats one number.
    assert backward.kernels == 2 and backward.flops == 2 * 2 * 2 * 16 * 8 * 72
    assert backward.bytes == 2 * (images + kernels) + 2 * 4


def test_what_is_written_in_place_is_read_and_written_unless_it_is_overwritten():
    x, y = torch.empty(10), torch.empty(10)
    assert (only(lambda: x.add_(y)).bytes, only(lambda: x.copy_(y)).bytes) == (120, 80)
    assert only(lambda: x.zero_()).bytes == 40
    assert only(lambda: torch.zeros_like(x)).bytes == 40


@pytest.mark.parametrize(("call", "kind"), [
    (lambda x: x.relu(), "relu"), (lambda x: x + x, "pointwise"), (lambda x: x.sum((2, 3)), "reduction"),
    (lambda x: x.bfloat16(), "copy"), (lambda x: torch.max_pool2d(x, 2), "pool"),
    (lambda x: nn.functional.gelu(x), "gelu"), (lambda x: nn.functional.silu(x), "silu"),
    (lambda x: torch.empty_like(x).bernoulli_(0.5), "random"),
    (lambda x: nn.functional.batch_norm(x, None, None, training=True), "norm")])
def test_kinds(call, kind):
    x = torch.empty(4, 4, 8, 8)
    assert only(lambda: call(x)).kind == kind


def test_views_are_no_operations():
    x = torch.empty(4, 4)
    assert traced(lambda: (x.T, x[1:], x.view(16), x.detach(), torch.empty_like(x))) == []


def test_fused_updates_read_the_gradients_and_write_the_rest():
    lists = [[torch.empty(25) for _ in range(4)] for _ in range(3)]
    with Tracer() as tracer:
        tracer.part = "update"
        torch._foreach_add_(lists[0], lists[1])
    (found,) = tracer.operations
    assert (found.part, found.tensors, found.bytes) == ("update", 4, 3 * 4 * 100)
