import hashlib

import pytest
import torch
from torch import nn

from engine.storage.weights_hash import weights_sha256


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def test_the_hash_byte_by_byte():
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -2.0]]))
        layer.bias.copy_(torch.tensor([0.5]))
    expected = hashlib.sha256(
        b"bias\0torch.float32\0(1,)\0" + bytes.fromhex("0000003f")
        + b"weight\0torch.float32\0(1, 2)\0" + bytes.fromhex("0000803f" "000000c0")
    ).hexdigest()
    assert weights_sha256(layer) == expected


def test_equal_weights_have_equal_hashes_in_any_layout():
    model = network()
    digest = weights_sha256(model)
    assert weights_sha256(network()) == digest
    assert weights_sha256(model.to(memory_format=torch.channels_last)) == digest
    strided = torch.randn(16, 4)
    with torch.no_grad():
        strided[:, ::2] = model[3].weight.T
    model[3].weight.data = strided[:, ::2].T
    assert weights_sha256(model) == digest


def test_the_order_of_registration_does_not_show():
    one, other = nn.Module(), nn.Module()
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(2))
    one.a, one.b = a, b
    other.b, other.a = b, a
    assert weights_sha256(one) == weights_sha256(other)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m[0].weight[0, 0, 0, 0].mul_(1 + 1e-6),
        lambda m: m[1].running_mean.add_(1e-6),
        lambda m: m[1].num_batches_tracked.add_(1),
        lambda m: m[3].bias.zero_().neg_(),
        lambda m: m.double(),
        lambda m: setattr(m[3], "weight", nn.Parameter(m[3].weight.reshape(4, 8))),
        lambda m: m.add_module("4", nn.BatchNorm2d(1)),
    ],
)
def test_any_change_breaks_the_seal(change):
    model = network()
    digest = weights_sha256(model)
    with torch.no_grad():
        change(model)
    assert weights_sha256(model) != digest


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.bool, torch.int8, torch.complex64])
def test_every_type_of_number(dtype):
    model = nn.Module()
    model.register_buffer("values", torch.tensor([0, 1, 1]).to(dtype))
    digest = weights_sha256(model)
    model.values[0] = 1
    assert weights_sha256(model) != digest


def test_negative_zero_is_another_bit():
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
        digest = weights_sha256(model)
        model.weight.fill_(-0.0)
    assert weights_sha256(model) != digest


def test_empty_and_scalar_tensors_count():
    model = nn.Module()
    model.register_buffer("none", torch.empty(0, 3))
    model.register_buffer("one", torch.tensor(3.0))
    digest = weights_sha256(model)
    model.none = torch.empty(0, 4)
    assert weights_sha256(model) != digest
