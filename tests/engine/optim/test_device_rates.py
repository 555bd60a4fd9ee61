"""Updates whose rate and momentum are tensors: torch's own, with the numbers moved between steps."""

import pytest
import torch
from torch import nn

from engine.optim import muon
from engine.optim.device_rates import DeviceRates, adam, sgd
from engine.optim.param_groups import build_optimizer, by_pattern, split_decay

STEPS = [(0.1, 0.95), (0.3, 0.85), (0.02, 0.9), (0.2, 0.0)]
OPTIMIZERS = {
    "sgd": {"momentum": 0.9, "nesterov": True}, "plain sgd": {"momentum": 0.9}, "adam": {}, "adamw": {"eps": 1e-6},
    "muon": {"muon_for": ["0"], "rest": "sgd", "rest_momentum": 0.8, "muon_scale": "shape"},
}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(36, 5))


def optimizer_over(net, name):
    groups = split_decay(by_pattern(net, {"0": 0.1, "*": 0.02}), 0.01, decay_all=False)
    return build_optimizer(name.split()[-1], groups, **OPTIMIZERS[name])


def set_gradients(net, step):
    torch.manual_seed(step)
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)


@pytest.mark.parametrize("moves", [True, False])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_updates_as_the_optimizer_itself_and_leaves_plain_numbers(name, moves, monkeypatch):
    monkeypatch.setattr(muon, "fast_dtype", lambda device: torch.float32)
    plain, ours = network(), network()
    theirs = optimizer_over(plain, name)
    rates = DeviceRates(optimizer_over(ours, name), moves, lambda function: function)
    for step, (rate, momentum) in enumerate(STEPS):
        for net in (plain, ours):
            set_gradients(net, step)
        for group in theirs.param_groups:
            group["lr"] = rate * group["lr_scale"]
            if moves and "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            elif moves:
                group["momentum"] = momentum
        theirs.step()
        scales = torch.tensor([group["lr_scale"] for group in rates.optimizer.param_groups], dtype=torch.float64)
        rates.step(torch.stack([scales * rate, torch.full_like(scales, momentum)]))
    for own, other in zip(ours.parameters(), plain.parameters(), strict=True):
        if not moves and name.endswith("sgd"):
            assert torch.equal(own, other), "the same kernel has the same bits"
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)
    numbers = [value for group in rates.optimizer.param_groups for key, value in group.items()
               if key not in ("params", "param_names")]
    assert not any(isinstance(number, torch.Tensor) for number in numbers)
    keys = [[set(state) for state in part.state.values()] for part in rates.parts]
    assert keys == [[set(state) for state in part.state.values()] for part in getattr(theirs, "optimizers", [theirs])]


def test_a_cleared_state_is_a_new_one():
    first, second = network(), network()
    rates = DeviceRates(optimizer_over(first, "adam"), True, lambda function: function)
    numbers = torch.tensor([[0.1], [0.9]], dtype=torch.float64).expand(2, len(rates.optimizer.param_groups))
    set_gradients(first, 7)
    rates.step(numbers)
    first.load_state_dict(network().state_dict())
    rates.clear()
    fresh = DeviceRates(optimizer_over(second, "adam"), True, lambda function: function)
    for net, each in ((first, rates), (second, fresh)):
        set_gradients(net, 1)
        each.step(numbers)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.slow("compiles with a C++ compiler")
def test_the_formulas_compile_to_the_same():
    def drawn(count=4):
        torch.manual_seed(count)
        return [[torch.rand(3, 5).requires_grad_(k == 0) for _ in range(3)] for k in range(count)]

    rate, momentum = torch.tensor(0.1), torch.tensor(0.9)
    for function, count, more in ((sgd, 3, (0.01, True)), (adam, 4, (0.999, 1e-8, 0.01, True))):
        results = []
        for compiled in (function, torch.compile(function, dynamic=False)):
            tensors = drawn(count)
            steps = [[torch.zeros(()) for _ in range(3)]] if function is adam else []
            with torch.no_grad():
                for _ in range(3):
                    compiled(*tensors, *steps, rate, momentum, *more)
            results.append([tensor for each in tensors for tensor in each])
        torch.testing.assert_close(results[0], results[1])
