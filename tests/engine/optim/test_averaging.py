"""Averages of the weights against their formulas, saved and loaded."""

import copy
import io

import pytest
import torch
from torch import nn

from engine.common.errors import EngineError
from engine.optim.averaging import Ema, Lookahead

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def network(seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    return net.to(memory_format=torch.channels_last)


def trained(net, update):
    """One update: a pass that moves the norm's buffers, and weights that differ by noise."""
    torch.manual_seed(100 + update)
    net(torch.randn(8, 3, 6, 6))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)


def state_of(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("every", [1, 3])
def test_the_average_equals_the_formula(every):
    net = network()
    ema = Ema(net, 0.8, every)
    expected = state_of(net)
    averages = 0
    for update in range(1, 10):
        trained(net, update)
        ema.update(update)
        if update % every == 0:
            for name, value in net.state_dict().items():
                follows = averages > 0 and value.is_floating_point()
                expected[name] = 0.8 * expected[name] + (1 - 0.8) * value if follows else value.clone()
            averages += 1
        assert_same(state_of(ema.model), expected)
        assert ema.state_dict()["averages"] == averages
    assert ema.model[1].num_batches_tracked == 9
    assert ema.model[1].running_var.ne(net[1].running_var).any()


def test_the_average_is_a_network_of_its_own():
    net = network()
    ema = Ema(net, 0.5)
    before = state_of(net)
    for _ in range(2):
        ema.update(1)
    with torch.no_grad():
        ema.model[4].weight += 1
    assert_same(state_of(net), before)
    assert ema.model[0].weight.stride() == net[0].weight.stride()
    assert not any(p.requires_grad for p in ema.model.parameters())
    assert all(p.requires_grad for p in net.parameters())


def test_a_loaded_average_continues_exactly():
    net = network()
    ema = Ema(net, 0.9, 2)
    for update in range(1, 6):
        trained(net, update)
        ema.update(update)
    second = copy.deepcopy(net)
    resumed = Ema(second, 0.9, 2)
    resumed.load_state_dict(through_a_file(ema.state_dict()))
    for update in (6, 7, 8):
        for model, average in ((net, ema), (second, resumed)):
            trained(model, update)
            average.update(update)
    for a, b in zip(ema.model.state_dict().values(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_reset_of_an_average_is_in_place():
    net = network()
    ema = Ema(net, 0.9)
    held = ema.model[0].weight
    for update in (1, 2, 3):
        trained(net, update)
        ema.update(update)
    net.load_state_dict(network(seed=1).state_dict())
    ema.reset()
    assert_same(state_of(ema.model), state_of(net))
    trained(net, 4)
    ema.update(1)
    assert_same(state_of(ema.model), state_of(net))
    trained(net, 5)
    ema.update(2)
    assert ema.model[0].weight is held and not torch.equal(held, net[0].weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_of_several_types_are_averaged(dtype):
    net = network()
    net[4].to(dtype)
    ema = Ema(net, 0.75)
    ema.update(1)
    start = net[4].weight.detach().clone()
    with torch.no_grad():
        net[4].weight += 4
    ema.update(2)
    assert ema.model[4].weight.dtype == dtype
    torch.testing.assert_close(ema.model[4].weight, start + 1, rtol=0.01, atol=0.01)


def weights_of(parameters):
    return [p.detach().clone() for p in parameters]


@pytest.mark.parametrize(("every", "share"), [(1, 0.5), (3, 0.25), (2, 1.0)])
def test_lookahead_equals_the_formula(every, share):
    net = network()
    parameters = list(net.parameters())
    lookahead = Lookahead(iter(parameters), every, share)
    plain = copy.deepcopy(net)
    slow = weights_of(plain.parameters())
    for update in range(1, 8):
        trained(net, update)
        lookahead.update(update)
        trained(plain, update)
        if update % every == 0:
            slow = [s + share * (p.detach() - s) for s, p in zip(slow, plain.parameters(), strict=True)]
            with torch.no_grad():
                for parameter, value in zip(plain.parameters(), slow, strict=True):
                    parameter.copy_(value)
        for a, b in zip(parameters, plain.parameters(), strict=True):
            torch.testing.assert_close(a, b)


def test_a_loaded_lookahead_continues_exactly():
    net = network()
    lookahead = Lookahead(net.parameters(), 2, 0.5)
    for update in (1, 2, 3):
        trained(net, update)
        lookahead.update(update)
    second = copy.deepcopy(net)
    resumed = Lookahead(second.parameters(), 2, 0.5)
    resumed.load_state_dict(through_a_file(lookahead.state_dict()))
    for update in (4, 5, 6):
        for model, follower in ((net, lookahead), (second, resumed)):
            trained(model, update)
            follower.update(update)
    for a, b in zip(net.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_reset_of_lookahead_is_in_place():
    net = network()
    lookahead = Lookahead(net.parameters(), 1, 0.5)
    held = lookahead.state_dict()["slow"]
    net.load_state_dict(network(seed=1).state_dict())
    lookahead.reset()
    start = weights_of(net.parameters())
    lookahead.update(1)
    for now, before, slow in zip(net.parameters(), start, held, strict=True):
        torch.testing.assert_close(now, before)
        torch.testing.assert_close(slow, before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda net: Ema(net, 0.0), "average.ema=0.0 must be above 0 and below 1"),
        (lambda net: Ema(net, 1.0), "average.ema=1.0 must be above 0 and below 1"),
        (lambda net: Ema(net, 0.9, 0), "average.ema_every=0 must be 1 or more"),
        (lambda net: Lookahead(net.parameters(), 0, 0.5), "average.lookahead=0 must be 1 or more"),
        (lambda net: Lookahead(net.parameters(), 1, 0.0), "average.lookahead_share=0.0 must be above 0 and at most 1"),
        (lambda net: Lookahead(net.parameters(), 1, 1.1), "average.lookahead_share=1.1 must be above 0 and at most 1"),
        (lambda net: Ema(net, 0.9).load_state_dict({"averages": 1, "model": {}}),
         "saved average is of another network: resume with"),
        (lambda net: Lookahead(net.parameters(), 1, 0.5).load_state_dict({"slow": [torch.zeros(3)]}),
         "saved lookahead is of another network: resume with"),
    ],
)
def test_wrong_values_and_states_are_refused_in_one_line(make, message):
    with pytest.raises(EngineError, match=message) as caught:
        make(network())
    assert "\n" not in str(caught.value)


@needs_cuda
def test_no_average_waits_for_the_device():
    net = network().cuda()
    ema, lookahead = Ema(net, 0.9, 2), Lookahead(net.parameters(), 2, 0.5)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for update in range(1, 7):
            lookahead.update(update)
            ema.update(update)
    finally:
        torch.cuda.set_sync_debug_mode("default")
